import { z } from "zod"
import {
  type EvidenceClaims,
  type EvidenceContext,
  parseEvidence,
  platformDigest,
  type VerifiedPlatform,
  verifyEvidence,
} from "../attest/index.ts"
import { canonicalJson, fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  type AccessRequest,
  decide,
  nameSchema,
  type Policy,
  type Refusal,
  refusalText,
  type Service,
} from "../policy/index.ts"
import { type SealedAnswer, sealAnswer } from "./answer.ts"
import type { Challenger } from "./challenge.ts"
import { type Configuration, configure } from "./configuration.ts"
import { requireEntry, type SignedHead, signedHeadSchema } from "./head.ts"
import { requireNewestCollateral } from "./high-water.ts"
import type { Identity } from "./identity.ts"
import type { Ledger, Transaction } from "./ledger.ts"
import { useOnce } from "./once.ts"
import { judgePlatform } from "./platforms.ts"
import { requirePolicy } from "./policies.ts"
import { readVolume, type VolumeRow } from "./volumes.ts"

export const attestRequestSchema = z.strictObject({
  policy: nameSchema,
  service: nameSchema,
  nonce: z.string().regex(/^[0-9a-f]{64}$/),
  evidence: z.unknown(),
  /** Absent: every volume that the service is granted, instance 0. */
  volumes: z
    .array(
      z.strictObject({
        name: nameSchema,
        /** Absent: what the policy grants. */
        access: z.enum(["read", "write"]).optional(),
        instance: z.int().min(0).max(9999).default(0),
        takeover: z.boolean().default(false),
      }),
    )
    .max(64)
    .refine(
      (list) => new Set(list.map((one) => `${one.name}/${one.instance}`)).size === list.length,
      {
        error: "each volume once",
      },
    )
    .optional(),
  /** The newest signed head that the asker has seen, from its own memory or from a volume. */
  seen: signedHeadSchema.optional(),
})
export type AttestRequest = z.output<typeof attestRequestSchema>

export interface Attestation {
  readonly answer: SealedAnswer
  readonly head: SignedHead
}

export interface AttestOptions {
  readonly ledger: Ledger
  readonly identity: Identity
  readonly challenger: Challenger
  /** What verification needs beside the exchange itself: collateral and roots. */
  readonly evidence: Partial<EvidenceContext>
  now(): number
}

const challengeMs = 60_000
const platformMaxMs = 7 * 86_400_000
const clockSlackMs = 5000
const cacheMax = 1024

/** Challenge, evidence, policy, configuration: the one place where keys leave the CAS. */
export class Attester {
  readonly #options: AttestOptions
  readonly #platforms = new Map<string, KeptPlatform>()

  constructor(options: AttestOptions) {
    this.#options = options
  }

  async attest(request: AttestRequest): Promise<Attestation> {
    const { ledger, identity } = this.#options
    const nonce = this.#requireFresh(request.nonce)
    const { claims, ageMs } = this.#verify(request, nonce)
    const { value, head } = await ledger.transact(async (tx) => {
      await useNonce(tx, request.nonce)
      if (request.seen !== undefined)
        requireEntry(request.seen, await tx.hashAt(request.seen.sequence))
      return await this.#release(tx, request, claims, ageMs)
    })
    // Thrown here and not in the transaction: the challenge is used up, and what was learnt of collateral is kept.
    if ("refusal" in value) throw refused(value.refusal, value.about)
    const plain = canonicalJson({ ...value.configuration, head })
    const context = { nonce, ephemeralKey: claims.ephemeralKey, casKey: identity.publicKey }
    return { answer: sealAnswer(plain, context, identity.privateKey), head }
  }

  #requireFresh(hex: string): Uint8Array {
    const nonce = fromHex(hex) ?? new Uint8Array()
    const age = this.#options.challenger.age(nonce, this.#options.now())
    if (age !== undefined && age >= -clockSlackMs && age <= challengeMs) return nonce
    throw new CofferError(
      "refused",
      `nonce: wanted a challenge of this CAS from the last ${challengeMs / 1000} s, found ${age === undefined ? "another" : "an old one"}`,
      {
        reason: "nonce",
        hint: "ask for a new challenge",
      },
    )
  }

  #verify(
    request: AttestRequest,
    nonce: Uint8Array,
  ): { readonly claims: EvidenceClaims; readonly ageMs: number } {
    const { challenger, identity } = this.#options
    const now = this.#options.now()
    const evidence = parseEvidence(request.evidence)
    const context: EvidenceContext = {
      ...this.#options.evidence,
      now: Math.floor(now / 1000),
      nonce,
      casKey: identity.publicKey,
      policyName: `${request.policy}/${request.service}`,
      acceptsPlatformNonce: (given) => {
        const age = challenger.age(given, now)
        return age !== undefined && age >= -clockSlackMs && age <= platformMaxMs
      },
    }
    if (evidence.platform.type === "sgx")
      return { claims: verifyEvidence(evidence, context), ageMs: 0 }
    const ageMs = challenger.age(fromHex(evidence.platform.nonce) ?? new Uint8Array(), now) ?? 0
    const digest = toHex(platformDigest(evidence.platform))
    const kept = this.#platforms.get(digest)
    const known =
      kept !== undefined && ageMs <= platformMaxMs && kept.until > now ? kept.platform : undefined
    const claims = verifyEvidence(evidence, context, known)
    if (known === undefined) {
      const nodeKey = fromHex(claims.nodeKey) ?? new Uint8Array()
      this.#remember(digest, { claims: claims.platform, nodeKey }, now)
    }
    return { claims, ageMs }
  }

  #remember(digest: string, platform: VerifiedPlatform, now: number): void {
    const [oldest] = this.#platforms.keys()
    if (this.#platforms.size >= cacheMax && oldest !== undefined) this.#platforms.delete(oldest)
    this.#platforms.set(digest, { platform, until: validUntil(platform, now) })
  }

  async #release(
    tx: Transaction,
    request: AttestRequest,
    claims: EvidenceClaims,
    ageMs: number,
  ): Promise<{ readonly configuration: Configuration } | Refused> {
    await requireNewestCollateral(tx, claims.platform)
    const stored = await requirePolicy(tx, request.policy)
    const subject = `${request.policy}/${request.service}`
    const access = accessRequest(request, stored.policy, claims)
    const rows = await volumeRows(tx, request.policy, access)
    const decision = decide(stored.policy, access, {
      judgePlatform: (name, platform) => judgePlatform(name, platform, claims.platform, ageMs),
      highestSvn: (volume, instance) => rows.get(`${volume}/${instance}`)?.highestSvn ?? 0,
    })
    const about = { mrEnclave: claims.enclave.mrEnclave, platformType: claims.platform.type }
    if (!decision.accepted) return { refusal: decision.refusal, about }
    const configuration = await configure(tx, {
      stored,
      request,
      access,
      claims,
      platform: decision.platform,
      tokenKey: this.#options.identity.tokenKey,
    })
    tx.log("attested", subject, { ...about, platform: decision.platform, policyHash: stored.hash })
    await tx.put("verdicts", `${subject}/accepted`, {
      accepted: true,
      time: tx.time,
      ...about,
      platform: decision.platform,
    })
    return { configuration }
  }
}

interface KeptPlatform {
  readonly platform: VerifiedPlatform
  /** Milliseconds: collateral ends, and what was verified with it is verified again. */
  readonly until: number
}

const keepMs = 3_600_000

function validUntil({ claims }: VerifiedPlatform, now: number): number {
  const ends = claims.type === "tdx" ? claims.tcb?.validUntil : undefined
  return Math.min(now + keepMs, ends === undefined ? Infinity : ends * 1000)
}

interface Refused {
  readonly refusal: Refusal
  readonly about: { readonly mrEnclave: string; readonly platformType: string }
}

function refused(refusal: Refusal, about: Refused["about"]): CofferError {
  return new CofferError("refused", refusalText(refusal), {
    reason: `policy-${refusal.field.replaceAll(/[^A-Za-z0-9]+/g, "-")}`,
    facts: { ...refusal, ...about },
    hint: "the policy says no: change the policy if this is meant to be",
  })
}

/** A challenge is used once, by whichever replica. It begins with its time. */
async function useNonce(tx: Transaction, nonce: string): Promise<void> {
  const until = Number.parseInt(nonce.slice(0, 12), 16) + challengeMs
  if (await useOnce(tx, until, nonce.slice(12))) return
  throw new CofferError(
    "refused",
    "nonce: wanted a challenge that was not used before, found a used one",
    { reason: "nonce-used" },
  )
}

/** The asker has seen a head with our signature: our log must have it. */
function accessRequest(
  request: AttestRequest,
  policy: Policy,
  claims: EvidenceClaims,
): AccessRequest {
  const { enclave } = claims
  const service = Object.hasOwn(policy.services, request.service)
    ? policy.services[request.service]
    : undefined
  return {
    service: request.service,
    enclave: {
      mrEnclave: enclave.mrEnclave,
      mrSigner: enclave.mrSigner,
      product: enclave.productId,
      svn: enclave.svn,
      debug: enclave.debug,
      runtimeVersion: enclave.runtimeVersion.join("."),
    },
    volumes: request.volumes?.map((asked) => withAccess(asked, service)) ?? granted(service),
  }
}

function withAccess(
  { name, access, instance }: NonNullable<AttestRequest["volumes"]>[number],
  service: Service | undefined,
): AccessRequest["volumes"][number] {
  const most = Object.hasOwn(service?.volumes ?? {}, name) ? service?.volumes[name] : undefined
  return { name, access: access ?? most ?? "write", instance }
}

function granted(service: Service | undefined): AccessRequest["volumes"] {
  return Object.entries(service?.volumes ?? {}).map(([name, access]) => ({
    name,
    access,
    instance: 0,
  }))
}

async function volumeRows(
  tx: Transaction,
  policy: string,
  access: AccessRequest,
): Promise<Map<string, VolumeRow>> {
  const rows = new Map<string, VolumeRow>()
  for (const { name, instance } of access.volumes) {
    const row = await readVolume(tx, { policy, volume: name, instance })
    if (row !== undefined) rows.set(`${name}/${instance}`, row)
  }
  return rows
}
