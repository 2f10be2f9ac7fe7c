/** Hot path: each fsync of a service under `freshness: strict`. */
import type { Anchor } from "../volume/index.ts"
import { moved, nameOf, nextOf, positionOf, stateOf, wordsToShow } from "./anchor-state.ts"
import type { DirectTransaction } from "./batch.ts"
import type { VolumeGrant } from "./configuration.ts"
import { DirectLedger } from "./direct-ledger.ts"
import type { Head } from "./guard.ts"
import { requireEntry, type SignedHead, signHead, verifyHead } from "./head.ts"
import { type Identity, identityNow } from "./identity.ts"
import { embeddedMasterKey } from "./master-key.ts"
import { type Asker, RefusalBounds } from "./refusals.ts"
import { RowSealer } from "./rows.ts"
import { encodeSeen } from "./seen.ts"
import { DirectSqlite } from "./store/sqlite-direct.ts"
import {
  type Move,
  movedRow,
  renewedRow,
  requireToken,
  requireVolume,
  tagMoved,
  type VolumePlace,
  type VolumeRow,
  volumeKey,
  volumeRowSchema,
} from "./volumes.ts"

const renewMs = 10_000

/**
 * The CAS in the directory `dir` as a volume's anchor, in the volume's own thread. A synced commit waits for it, so between
 * the volume's disk and the CAS's there is no other thread, and no event loop, that would have to be woken. Same rows, same
 * log, same refusals as `Cas`: several processes may have the directory open.
 */
export function openEmbeddedAnchor(dir: string, policy: string, grant: VolumeGrant): Anchor {
  const store = new DirectSqlite(dir)
  try {
    const master = embeddedMasterKey(dir, false)
    const sealer = new RowSealer(master)
    const identity = identityNow(store, { master, sealer })
    const ledger = new DirectLedger({ store, sealer, now: Date.now })
    return new EmbeddedAnchor({ store, ledger, identity }, policy, grant)
  } catch (error) {
    store.close()
    throw error
  }
}

interface OpenedCas {
  readonly store: DirectSqlite
  readonly ledger: DirectLedger
  readonly identity: Identity
}

type Verb = (transaction: DirectTransaction, row: VolumeRow) => VolumeRow

class EmbeddedAnchor implements Anchor {
  readonly name: string
  readonly #cas: OpenedCas
  readonly #grant: VolumeGrant
  readonly #place: VolumePlace & { readonly id: string }
  readonly #bounds = new RefusalBounds()
  #head: Head | undefined
  /** The head that the word is about. */
  #said: Head | undefined
  #word: Uint8Array | undefined
  #toldAt = performance.now()
  #closed = false

  constructor(cas: OpenedCas, policy: string, grant: VolumeGrant) {
    this.name = nameOf(policy, grant)
    this.#cas = cas
    this.#grant = grant
    this.#place = { policy, volume: grant.name, instance: grant.instance, id: grant.id }
  }

  read() {
    return stateOf(
      this.#grant,
      this.#ask(this.#grant.access, (_, row) => row),
    )
  }

  move(from: Parameters<Anchor["move"]>[0], to: Parameters<Anchor["move"]>[1]): boolean {
    const { epoch } = this.#grant
    return moved(() => this.#move({ epoch, expected: positionOf(from), next: nextOf(to) }))
  }

  #move(move: Move): void {
    const place = this.#place
    this.#ask("write", (tx, row) => {
      const next = movedRow(place, row, move, tx.time)
      if (next === row) return row
      tx.put("volumes", volumeKey(place), next)
      tx.log("tag-moved", volumeKey(place), tagMoved(next))
      return next
    })
    this.#toldAt = performance.now()
  }

  seen(): Uint8Array | undefined {
    const head = this.#head
    if (head === undefined || head.sequence <= (this.#said?.sequence ?? -1)) return this.#word
    const { privateKey, name } = this.#cas.identity
    this.#said = head
    this.#word = encodeSeen(signHead(privateKey, name, head, head.time))
    return this.#word
  }

  requireNotBehind(words: readonly Uint8Array[]): void {
    for (const seen of wordsToShow(words, this.#grant)) this.#requireEntry(seen)
  }

  #requireEntry(seen: SignedHead): void {
    verifyHead(seen, this.#cas.identity.publicKey)
    this.#ask(this.#grant.access, (tx, row) => {
      requireEntry(seen, tx.hashAt(seen.sequence))
      return row
    })
  }

  /** Every call about the volume: the token first, then one transaction; a no is in the log before it is told. */
  #ask(access: "read" | "write", verb: Verb): VolumeRow {
    const place = this.#place
    const { ledger, identity } = this.#cas
    try {
      const epoch = access === "read" ? 0 : this.#grant.epoch
      requireToken(identity.tokenKey, { ...place, epoch, access }, this.#grant.token)
      const { value, head } = ledger.transact((tx) => {
        const found = tx.get("volumes", volumeKey(place))
        const row = found === undefined ? undefined : volumeRowSchema.parse(found)
        return verb(tx, requireVolume(place, row))
      })
      this.#head = head
      return value
    } catch (error) {
      this.#note(error)
      throw error
    }
  }

  #note(error: unknown): void {
    const asker: Asker = { from: "here", call: "volume", subject: volumeKey(this.#place) }
    const detail = this.#bounds.detail(asker, error)
    if (detail === undefined) return
    try {
      this.#cas.ledger.transact((tx) => tx.log("refused", asker.subject, detail))
    } catch {
      this.#bounds.lost(detail)
    }
  }

  /** A lease that cannot be renewed now may be renewed later; whoever has taken it over is met at the next move. */
  keep(): void {
    if (this.#grant.access !== "write" || performance.now() - this.#toldAt < renewMs) return
    this.#toldAt = performance.now()
    try {
      this.#renew(false)
    } catch {}
  }

  #renew(ended: boolean): void {
    const { epoch } = this.#grant
    const place = this.#place
    this.#ask("write", (tx, row) => {
      const next = renewedRow(place, row, { epoch, ended, time: tx.time })
      if (next === row) return row
      tx.put("volumes", volumeKey(place), next)
      if (ended) tx.log("lease-released", volumeKey(place), { epoch })
      return next
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    try {
      if (this.#grant.access === "write") this.#renew(true)
    } finally {
      this.#cas.store.close()
    }
  }
}
