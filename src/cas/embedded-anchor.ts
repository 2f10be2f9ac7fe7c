/** Hot path: each fsync of a service under `freshness: strict`. */
import type { VolumeAccess } from "../policy/index.ts"
import type { Anchor, AnchorState } from "../volume/index.ts"
import { moved, nameOf, nextOf, positionOf, stateOf, wordsToShow } from "./anchor-state.ts"
import type { DirectTransaction } from "./batch.ts"
import type { VolumeGrant } from "./configuration.ts"
import { DirectLedger, type Done, type Prepared } from "./direct-ledger.ts"
import type { Head } from "./guard.ts"
import { requireEntry, type SignedHead, signHead, verifyHead } from "./head.ts"
import { type Identity, identityNow } from "./identity.ts"
import { embeddedMasterKey } from "./master-key.ts"
import { type Asker, RefusalBounds } from "./refusals.ts"
import { RowMemory } from "./row-memory.ts"
import { RowSealer } from "./rows.ts"
import { encodeSeen } from "./seen.ts"
import { DirectSqlite } from "./store/sqlite-direct.ts"
import {
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
    const ledger = new DirectLedger({ store, sealer: new RowMemory(sealer), now: Date.now })
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
  /** Of these the grant's token speaks: it, and what it is about, never change. */
  readonly #shown = new Set<VolumeAccess>()
  /** The row as this thread has put it, or parsed it, last. */
  #row: VolumeRow | undefined
  #prepared:
    | {
        readonly from: AnchorState | "new"
        readonly to: AnchorState
        readonly made: Prepared<VolumeRow>
      }
    | undefined
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

  prepare(from: AnchorState | "new", to: AnchorState): void {
    this.#prepared = undefined
    try {
      this.#requireToken("write")
      const made = this.#cas.ledger.prepare(this.#work(this.#mover(from, to)))
      this.#prepared = { from, to, made }
    } catch {
      // The move itself will say it, to whoever waits for it and to the log.
    }
  }

  move(from: AnchorState | "new", to: AnchorState): boolean {
    const prepared = this.#prepared
    this.#prepared = undefined
    const same = prepared !== undefined && prepared.from === from && prepared.to === to
    return moved(() => this.#move(this.#mover(from, to), same ? prepared.made : undefined))
  }

  #move(mover: Verb, prepared: Prepared<VolumeRow> | undefined): void {
    let word: Uint8Array | undefined
    this.#ask("write", mover, prepared, ({ head }) => {
      word = this.#sign(head)
    })
    this.#said = this.#head
    this.#word = word
    this.#toldAt = performance.now()
  }

  #mover(from: AnchorState | "new", to: AnchorState): Verb {
    const place = this.#place
    const { epoch } = this.#grant
    const move = { epoch, expected: positionOf(from), next: nextOf(to) }
    return (tx, row) => {
      const next = movedRow(place, row, move, tx.time)
      if (next === row) return row
      this.#put(tx, next)
      tx.log("tag-moved", volumeKey(place), tagMoved(next))
      return next
    }
  }

  seen(): Uint8Array | undefined {
    const head = this.#head
    if (head === undefined || head.sequence <= (this.#said?.sequence ?? -1)) return this.#word
    this.#said = head
    this.#word = this.#sign(head)
    return this.#word
  }

  #sign(head: Head): Uint8Array {
    const { privateKey, name } = this.#cas.identity
    return encodeSeen(signHead(privateKey, name, head, head.time))
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
  #ask(
    access: VolumeAccess,
    verb: Verb,
    prepared?: Prepared<VolumeRow>,
    meanwhile?: (done: Done<VolumeRow>) => void,
  ): VolumeRow {
    const { ledger } = this.#cas
    try {
      this.#requireToken(access)
      const { value, head } = ledger.transact(this.#work(verb), prepared, meanwhile)
      this.#head = head
      return value
    } catch (error) {
      this.#note(error)
      throw error
    }
  }

  #work(verb: Verb): (transaction: DirectTransaction) => VolumeRow {
    const place = this.#place
    return (tx) => verb(tx, requireVolume(place, this.#parsed(tx.get("volumes", volumeKey(place)))))
  }

  #requireToken(access: VolumeAccess): void {
    if (this.#shown.has(access)) return
    const epoch = access === "read" ? 0 : this.#grant.epoch
    const { tokenKey } = this.#cas.identity
    requireToken(tokenKey, { ...this.#place, epoch, access }, this.#grant.token)
    this.#shown.add(access)
  }

  #parsed(found: unknown): VolumeRow | undefined {
    if (found === undefined) return undefined
    if (found === this.#row) return this.#row
    this.#row = volumeRowSchema.parse(found)
    return this.#row
  }

  #put(tx: DirectTransaction, row: VolumeRow): void {
    tx.put("volumes", volumeKey(this.#place), row)
    this.#row = row
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
      this.#put(tx, next)
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
