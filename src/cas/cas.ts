import { z } from "zod"
import type { EvidenceContext } from "../attest/index.ts"
import { type SignedAct } from "./acts.ts"
import { type Attestation, Attester, type AttestRequest } from "./attestation.ts"
import type { AuditPoint } from "./audit.ts"
import { Challenger } from "./challenge.ts"
import { requireEntry, type SignedHead } from "./head.ts"
import { bindToCounter, type HeadCounter } from "./head-counter.ts"
import { type Identity, loadIdentity } from "./identity.ts"
import { Ledger, type Transaction } from "./ledger.ts"
import { type ActResult, perform, type VolumeView, viewOf } from "./perform.ts"
import { storedPolicy } from "./policies.ts"
import { RefusalLog } from "./refusals.ts"
import type {
  CasInfo,
  CurrentRequest,
  KeysReply,
  LeaseCall,
  MoveRequest,
  PositionReply,
  RekeyRequest,
} from "./requests.ts"
import { RowSealer } from "./rows.ts"
import type { Backend } from "./store/backend.ts"
import {
  fork,
  moveTag,
  readVolume,
  renewedRow,
  requireToken,
  requireVolume,
  type VolumeRow,
  volumeKey,
  volumeRowSchema,
} from "./volumes.ts"

export const casVersion = "0.1.0"

export interface CasOptions {
  readonly backend: Backend
  /** 32 bytes. */
  readonly master: Uint8Array
  /** Make the identity when the database is empty. */
  readonly create: boolean
  /** Milliseconds. */
  now(): number
  /** Keys of which one must sign the first document of a policy; empty or absent: anybody's will do. */
  readonly creators?: readonly string[]
  /** Collateral and roots for verification. */
  readonly evidence?: Partial<EvidenceContext>
}

const verdictSchema = z.object({
  accepted: z.boolean(),
  time: z.int(),
  mrEnclave: z.string().optional(),
  platformType: z.string().optional(),
  from: z.string().optional(),
  reason: z.string().optional(),
  platform: z.string().optional(),
  field: z.string().optional(),
  wanted: z.string().optional(),
  found: z.string().optional(),
})
export type Verdict = Readonly<z.infer<typeof verdictSchema>> & { readonly subject: string }

export interface PolicyView {
  readonly name: string
  readonly hash: string
  readonly revision: number
  readonly changed: number
  readonly services: readonly string[]
  readonly insecure: boolean
}

/** The configuration and attestation service itself, with no network: a server or an embedding speaks to it. */
export class Cas {
  readonly #backend: Backend
  readonly #identity: Identity
  readonly #ledger: Ledger
  readonly #challenger: Challenger
  readonly #attester: Attester
  readonly #refusals: RefusalLog
  readonly #creators: readonly string[]
  readonly #now: () => number

  private constructor(options: CasOptions, identity: Identity, sealer: RowSealer) {
    const now = () => options.now()
    this.#backend = options.backend
    this.#identity = identity
    this.#creators = options.creators ?? []
    this.#now = now
    this.#ledger = new Ledger({
      backend: options.backend,
      sealer,
      identity: identity.privateKey,
      casKey: identity.name,
      now,
    })
    this.#refusals = new RefusalLog(this.#ledger)
    this.#challenger = new Challenger(options.master)
    this.#attester = new Attester({
      ledger: this.#ledger,
      identity,
      challenger: this.#challenger,
      evidence: options.evidence ?? {},
      now,
    })
  }

  static async open(options: CasOptions): Promise<Cas> {
    if (options.master.length !== 32) throw new TypeError("a master key has 32 bytes")
    const sealer = new RowSealer(options.master)
    const identity = await loadIdentity(options.backend, options.master, sealer, options.create)
    return new Cas(options, identity, sealer)
  }

  /** The key that clients pin. */
  get identity(): Identity {
    return this.#identity
  }

  async info(): Promise<CasInfo> {
    return {
      cas: this.#identity.name,
      version: casVersion,
      time: this.#now(),
      head: await this.#ledger.head(),
    }
  }

  /** 32 bytes, for one attestation within a minute; also for platform evidence, which lives as long as a policy says. */
  challenge(): Uint8Array {
    return this.#challenger.make(this.#now())
  }

  /** `from`, here and below: the address of who asks, for the log. */
  attest(request: AttestRequest, from = local): Promise<Attestation> {
    const subject = `${request.policy}/${request.service}`
    return this.#refusals.watch({ from, call: "attest", subject }, () =>
      this.#attester.attest(request),
    )
  }

  async act(
    signed: SignedAct,
    from = local,
  ): Promise<{ readonly result: ActResult; readonly head: SignedHead }> {
    const asker = { from, call: "act", subject: signed.act.policy } as const
    const { value, head } = await this.#refusals.watch(asker, () =>
      this.#ledger.transact((tx) =>
        perform(tx, signed, { casKey: this.#identity.name, creators: this.#creators }),
      ),
    )
    return { result: value, head }
  }

  /** Idempotent within an epoch. Throws `rollback` for every kind of fork, `refused` for a token that is not the lease's. */
  async moveTag(request: MoveRequest, from = local): Promise<PositionReply> {
    return await this.#position(request, from, (tx, row) => moveTag(tx, request, row, request))
  }

  /** What the CAS holds as the newest state. For readers too. */
  async current(request: CurrentRequest, from = local): Promise<PositionReply> {
    const asker = { from, call: "volume", subject: volumeKey(request) } as const
    const { value, head } = await this.#refusals.watch(asker, async () => {
      this.#requireHolder(request, request.access)
      return await this.#ledger.transact(async (tx) => {
        if (request.seen !== undefined)
          requireEntry(request.seen, await tx.hashAt(request.seen.sequence))
        return requireVolume(request, await readVolume(tx, request))
      })
    })
    return positionReply(value, head)
  }

  /** Keeps the lease for another while, or (`ended`) gives it back, so that the next writer need not wait. */
  async renew(request: LeaseCall, ended: boolean, from = local): Promise<PositionReply> {
    return await this.#position(request, from, async (tx, row) => {
      const next = renewedRow(request, row, { epoch: request.epoch, ended, time: tx.time })
      if (next === row) return row
      await tx.put("volumes", volumeKey(request), next)
      if (ended) tx.log("lease-released", volumeKey(request), { epoch: row.epoch })
      return next
    })
  }

  /** Drops key generations before `keepFrom`, after the writer has anchored the commit that retires them. */
  async dropKeys(request: RekeyRequest, from = local): Promise<KeysReply> {
    let keys: VolumeRow["keys"] = []
    const { head } = await this.#position(request, from, async (tx, row) => {
      if (row.epoch !== request.epoch)
        throw fork(
          request,
          "fenced",
          `epoch ${row.epoch}, the newest lease's`,
          `epoch ${request.epoch}`,
        )
      keys = row.keys.filter(
        ({ generation }, i) => generation >= request.keepFrom || i === row.keys.length - 1,
      )
      if (keys.length === row.keys.length) return row
      const next = { ...row, keys }
      await tx.put("volumes", volumeKey(request), next)
      tx.log("volume-key-dropped", volumeKey(request), { before: request.keepFrom })
      return next
    })
    return { keys: [...keys], head }
  }

  async #position(
    request: LeaseCall,
    from: string,
    change: (tx: Transaction, row: VolumeRow) => Promise<VolumeRow>,
  ): Promise<PositionReply> {
    const asker = { from, call: "volume", subject: volumeKey(request) } as const
    const { value, head } = await this.#refusals.watch(asker, async () => {
      this.#requireHolder(request, "write")
      return await this.#ledger.transact(
        async (tx) => await change(tx, requireVolume(request, await readVolume(tx, request))),
      )
    })
    return positionReply(value, head)
  }

  /**
   * The token is checked before the database is asked anything, under the epoch and the id that it was made for: so a
   * stranger learns nothing and costs no transaction, and a writer that was fenced is told that it is fenced.
   */
  #requireHolder(request: CurrentRequest | LeaseCall, access: "read" | "write"): void {
    const { policy, volume, instance, id } = request
    const epoch = access === "read" ? 0 : request.epoch
    requireToken(
      this.#identity.tokenKey,
      { policy, volume, instance, id, epoch, access },
      request.token,
    )
  }

  head(): Promise<SignedHead> {
    return this.#ledger.head()
  }

  /** Lines of the audit log, `HASH JSON`, from entry `first` on. */
  auditLines(first: number, limit: number): Promise<string[]> {
    return this.#ledger.lines(first, limit)
  }

  /** Reads and checks everything; see `Ledger.verify`. */
  verify(onProgress?: (done: number) => void): Promise<AuditPoint> {
    return this.#ledger.verify(onProgress)
  }

  /** Verifies everything, and from then on notices each row that the database puts back: for a CAS that serves. */
  guard(onProgress?: (done: number) => void): Promise<AuditPoint> {
    return this.#ledger.guard(onProgress)
  }

  /** Follows what other replicas have committed, so that this one never has much to catch up with. */
  async keepUp(): Promise<void> {
    await this.#ledger.transact(() => Promise.resolve())
  }

  /** How many there are. */
  async counts(): Promise<{ readonly policies: number; readonly volumes: number }> {
    return {
      policies: await this.#ledger.count("policies"),
      volumes: await this.#ledger.count("volumes"),
    }
  }

  /** `after`: the last of the page before; `prefix`: what the names begin with. So below. */
  async policies(after: string, limit: number, prefix = ""): Promise<PolicyView[]> {
    const rows = await this.#ledger.list("policies", prefix, after, limit)
    return rows.map(({ key, value }) => {
      const { hash, policy, revision, changed } = storedPolicy(value)
      const insecure = Object.values(policy.platforms).some(({ type }) => type === "insecure-sim")
      return {
        name: key,
        hash,
        revision,
        changed,
        services: Object.keys(policy.services),
        insecure,
      }
    })
  }

  async volumes(prefix: string, after: string, limit: number): Promise<VolumeView[]> {
    const rows = await this.#ledger.list("volumes", prefix, after, limit)
    return rows.map(({ key, value }) => viewOf(key, volumeRowSchema.parse(value), this.#now()))
  }

  async verdicts(after: string, limit: number, prefix = ""): Promise<Verdict[]> {
    const rows = await this.#ledger.list("verdicts", prefix, after, limit)
    return rows.map(({ key, value }) => ({
      subject: key.slice(0, key.lastIndexOf("/")),
      ...verdictSchema.parse(value),
    }))
  }

  async note(
    kind: "cas-created" | "cas-started" | "cas-restored",
    detail: Readonly<Record<string, string | number>>,
  ): Promise<SignedHead> {
    const { head } = await this.#ledger.transact((tx) => Promise.resolve(tx.log(kind, "", detail)))
    return head
  }

  /** See `bindToCounter`: throws `rollback` when the database is older than the counter. */
  async bind(counter: HeadCounter, first: boolean): Promise<void> {
    await bindToCounter(this.#ledger, counter, first)
  }

  close(): Promise<void> {
    return this.#backend.close()
  }
}

function positionReply(row: VolumeRow, head: SignedHead): PositionReply {
  const { state, sequence, tag, epoch, hint } = row
  return { state, sequence, tag, epoch, head, ...(hint === undefined ? {} : { hint }) }
}

/** Who asks a CAS in its own process. */
const local = "here"
