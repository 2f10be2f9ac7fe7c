import { generateKeyPairSync } from "node:crypto"
import type { z } from "zod"
import { type ReleaseBinding, rawPublicKey } from "../attest/index.ts"
import { fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { SignedAct } from "./acts.ts"
import { openAnswer } from "./answer.ts"
import type { AttestRequest } from "./attestation.ts"
import { answerSchema, type VolumeGrant } from "./configuration.ts"
import { requireNotBehind, type SignedHead, verifyHead } from "./head.ts"
import type { ActResult } from "./perform.ts"
import {
  challengeSchema,
  infoSchema,
  type KeysReply,
  keysReplySchema,
  type PositionReply,
  positionReplySchema,
} from "./requests.ts"
import { attestReplySchema, routeOf } from "./routes.ts"
import type { Position, VolumeRow } from "./volumes.ts"

/** How calls reach a CAS: over HTTPS, or by a function call when it is embedded. */
export interface Transport {
  /** Throws the CAS's CofferError, or `missing`/`io` when it cannot be reached. */
  call(path: string, body: unknown): Promise<unknown>
  /** Idempotent. */
  close(): Promise<void>
}

export interface ClientOptions {
  readonly transport: Transport
  /** The pinned Ed25519 key of the CAS, 32 bytes: from the measured manifest or guest, never from the environment. */
  readonly casKey: Uint8Array
  /** The newest head that was seen before, for example in the volume. */
  readonly seen?: SignedHead
  /** How long to go on after the first failure of the network, milliseconds; default 15 s. */
  readonly patience?: number
  /** For tests. */
  readonly sleep?: (ms: number) => Promise<void>
}

export interface Asked {
  readonly policy: string
  readonly service: string
  /** Absent: all volumes that the policy grants, instance 0. */
  readonly volumes?: AttestRequest["volumes"]
  /** Signed heads that were found in volumes: the CAS must not be behind any of them. */
  readonly seen?: SignedHead
  /** The node agent's part: evidence that binds what is given. Called again when an attempt must be repeated. */
  makeEvidence(binding: ReleaseBinding): unknown
}

export type Answer = Readonly<z.output<typeof answerSchema>>

/**
 * The runtime's side of the protocol. Every signed head that arrives is checked against the newest one seen: a CAS whose
 * database went back in time is `rollback`, exit 4.
 */
export class CasClient {
  readonly #transport: Transport
  readonly #casKey: Uint8Array
  readonly #patience: number
  readonly #sleep: (ms: number) => Promise<void>
  #seen: SignedHead | undefined

  constructor(options: ClientOptions) {
    this.#transport = options.transport
    this.#casKey = options.casKey
    this.#patience = options.patience ?? 15_000
    this.#sleep = options.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)))
    if (options.seen !== undefined) this.#note(options.seen)
  }

  /** The newest signed head: store it where a later start finds it, beside the data that it protects. */
  get seen(): SignedHead | undefined {
    return this.#seen
  }

  get casKey(): Uint8Array {
    return this.#casKey
  }

  async info(): Promise<z.output<typeof infoSchema>> {
    const info = this.#reply(infoSchema, await this.#call("/v1/info", {}))
    if (info.cas !== toHex(this.#casKey)) throw otherCas(this.#casKey, info.cas)
    this.#note(info.head)
    return info
  }

  /** A nonce for platform evidence of the node agent, 32 bytes. */
  async challenge(): Promise<Uint8Array> {
    const { nonce, cas } = this.#reply(challengeSchema, await this.#call("/v1/challenge", {}))
    if (cas !== toHex(this.#casKey)) throw otherCas(this.#casKey, cas)
    return fromHex(nonce) ?? new Uint8Array()
  }

  /** Attests and opens the answer. A lost reply costs a new challenge and a new ephemeral key, never an old one. */
  async attest(asked: Asked): Promise<Answer> {
    if (asked.seen !== undefined) this.#note(asked.seen)
    return await this.#patiently(() => this.#attestOnce(asked))
  }

  async #attestOnce(asked: Asked): Promise<Answer> {
    const nonce = await this.challenge()
    const ephemeral = generateKeyPairSync("x25519")
    const ephemeralKey = rawPublicKey(ephemeral.publicKey)
    const { policy, service, volumes } = asked
    const binding = {
      nonce,
      ephemeralKey,
      casKey: this.#casKey,
      policyName: `${policy}/${service}`,
    }
    const evidence = await asked.makeEvidence(binding)
    const request = {
      policy,
      service,
      nonce: toHex(nonce),
      evidence,
      ...(volumes === undefined ? {} : { volumes }),
      ...(this.#seen === undefined ? {} : { seen: this.#seen }),
    }
    const { answer } = this.#reply(
      attestReplySchema,
      await this.#transport.call("/v1/attest", request),
    )
    const context = { nonce, ephemeralKey, casKey: this.#casKey }
    const plain = openAnswer(answer, context, ephemeral.privateKey)
    const opened = this.#reply(answerSchema, JSON.parse(Buffer.from(plain).toString("utf8")))
    if (opened.policy !== policy || opened.service !== service)
      throw new CofferError(
        "refused",
        `CAS answer: wanted ${policy}/${service}, found ${opened.policy}/${opened.service}`,
        { reason: "answer-subject" },
      )
    this.#note(opened.head)
    return opened
  }

  /** Moves the tag; throws `rollback` when somebody else has moved it, or has the lease. Repeats after a lost reply. */
  async moveTag(
    policy: string,
    grant: VolumeGrant,
    expected: Position,
    next: Position & { readonly hint?: VolumeRow["hint"] },
  ): Promise<PositionReply> {
    return await this.#position("/v1/tags/move", {
      ...placeOf(policy, grant),
      epoch: grant.epoch,
      expected: { sequence: expected.sequence, tag: expected.tag },
      next,
    })
  }

  /** `seen`: the CAS must not be behind it. */
  async current(policy: string, grant: VolumeGrant, seen?: SignedHead): Promise<PositionReply> {
    if (seen !== undefined) verifyHead(seen, this.#casKey)
    const reply = await this.#position("/v1/tags/current", {
      ...placeOf(policy, grant),
      access: grant.access,
      epoch: grant.epoch,
      ...(seen === undefined ? {} : { seen }),
    })
    requireNotBehind(seen, reply.head)
    return reply
  }

  async renewLease(policy: string, grant: VolumeGrant): Promise<PositionReply> {
    return await this.#position("/v1/leases/renew", {
      ...placeOf(policy, grant),
      epoch: grant.epoch,
    })
  }

  async releaseLease(policy: string, grant: VolumeGrant): Promise<PositionReply> {
    return await this.#position("/v1/leases/release", {
      ...placeOf(policy, grant),
      epoch: grant.epoch,
    })
  }

  async dropKeys(policy: string, grant: VolumeGrant, keepFrom: number): Promise<KeysReply> {
    const body = { ...placeOf(policy, grant), epoch: grant.epoch, keepFrom }
    const reply = this.#reply(keysReplySchema, await this.#call("/v1/keys/drop", body))
    this.#note(reply.head)
    return reply
  }

  /** A signed act of people; repeated only when the network failed before it was sent. */
  async act(signed: SignedAct): Promise<ActResult> {
    const reply = (await this.#transport.call("/v1/acts", signed)) as {
      readonly result: ActResult
      readonly head: SignedHead
    }
    this.#note(reply.head)
    return reply.result
  }

  close(): Promise<void> {
    return this.#transport.close()
  }

  async #position(path: string, body: unknown): Promise<PositionReply> {
    const reply = this.#reply(positionReplySchema, await this.#call(path, body))
    this.#note(reply.head)
    return reply
  }

  #reply<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
    const field = parsed.error.issues[0]?.path.map(String).join(".") ?? ""
    throw new CofferError(
      "integrity",
      `CAS reply: ${field}: wanted a value of the protocol, found another`,
      { reason: "reply-schema", facts: { field } },
    )
  }

  #note(head: SignedHead): void {
    verifyHead(head, this.#casKey)
    const seen = this.#seen
    // Replies to calls that ran together arrive in any order: only a head of another history at one place is wrong here,
    // and an older one is only kept out. `attest` and `info` are where a rollback shows.
    if (seen === undefined || head.sequence > seen.sequence) this.#seen = head
    else if (head.sequence === seen.sequence) requireNotBehind(seen, head)
  }

  async #call(path: string, body: unknown): Promise<unknown> {
    if (routeOf(path)?.repeatable !== true) return await this.#transport.call(path, body)
    return await this.#patiently(() => this.#transport.call(path, body))
  }

  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const begin = Date.now()
    for (let pause = 50; ; pause = Math.min(pause * 2, 2000)) {
      try {
        return await attempt()
      } catch (error) {
        const passing = error instanceof CofferError && ["io", "missing"].includes(error.code)
        if (!passing || Date.now() - begin + pause > this.#patience) throw error
        await this.#sleep(pause)
      }
    }
  }
}

function placeOf(policy: string, grant: VolumeGrant) {
  return { policy, volume: grant.name, instance: grant.instance, id: grant.id, token: grant.token }
}

function otherCas(pinned: Uint8Array, found: string): CofferError {
  return new CofferError(
    "refused",
    `CAS: wanted ${toHex(pinned)}, the pinned one, found ${found}`,
    {
      reason: "cas-key",
      hint: "the address leads to another CAS; the pinned key comes from the measured manifest or guest",
    },
  )
}
