import type { KeyObject } from "node:crypto"
import {
  type EnclaveClaims,
  type Evidence,
  makeEvidence,
  type NodeEvidence,
  type Platform,
  type ReleaseBinding,
  rawPublicKey,
} from "../attest/index.ts"
import { fromHex, toHex } from "../bytes/index.ts"
import type { SealedBinary } from "../seal/index.ts"
import type { Measurements } from "./measurements.ts"

/** A nonce of the CAS that is asked, 32 bytes: called when platform evidence for it must be made. */
export type Challenge = () => Promise<Uint8Array>

/** The node as one process of the runtime sees it: in the agent, or in this process. */
export interface Node {
  /** Has the enclave measured, and its measurement put into the machine's register. `fd`: the sealed binary's file. */
  enclave(sealed: SealedBinary, fd: number): Promise<NodeEnclave>
  /** Idempotent. */
  close(): Promise<void>
}

/** One enclave that this node vouches for. */
export interface NodeEnclave {
  /** Evidence that asks the CAS of `binding.casKey` for the keys of `binding.policyName`. */
  evidence(binding: ReleaseBinding, challenge: Challenge): Promise<Evidence>
}

export const runtimeVersion = [0, 1, 0] as const

export function claimsOf(sealed: SealedBinary, engineTrusted: boolean): EnclaveClaims {
  const { manifest, mrEnclave, signature } = sealed
  return {
    mrEnclave: toHex(mrEnclave),
    mrSigner: signature === undefined ? undefined : toHex(signature.mrSigner),
    productId: signature?.isvProdId ?? 0,
    svn: signature?.isvSvn ?? 0,
    debug: manifest.debug,
    engineTrusted,
    runtimeVersion,
  }
}

/** Platform evidence is shown again for this long: a TPM or a quoting enclave takes its time. */
const reuseMs = 600_000

interface Kept {
  readonly evidence: NodeEvidence
  readonly until: number
}

export interface VoucherOptions {
  readonly platform: Platform
  readonly nodeKey: KeyObject
  readonly engineTrusted: boolean
  readonly measurements: Measurements
  readonly now?: () => number
}

/** The node key, and what vouches for it. */
export class Voucher {
  readonly #options: VoucherOptions
  readonly #kept = new Map<string, Kept>()
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: VoucherOptions) {
    this.#options = options
  }

  get platformType(): NodeEvidence["type"] {
    return this.#options.platform.type
  }

  /** The claims to sign, once the measurement is in the register. */
  async measured(sealed: SealedBinary): Promise<EnclaveClaims> {
    const { platform, measurements, engineTrusted } = this.#options
    await this.#inTurn(async () => {
      if (measurements.has(sealed.mrEnclave)) return
      await platform.extend(sealed.mrEnclave)
      measurements.add(sealed.mrEnclave)
      // A register has another value now: what is quoted from here on shows it.
      this.#kept.clear()
    })
    return claimsOf(sealed, engineTrusted)
  }

  /** Undefined: a challenge is wanted, and none was given. */
  async evidence(
    claims: EnclaveClaims,
    binding: ReleaseBinding,
    platformNonce: Uint8Array | undefined,
  ): Promise<Evidence | undefined> {
    const platform = await this.#inTurn(() => this.#platformFor(binding.casKey, platformNonce))
    if (platform === undefined) return undefined
    return makeEvidence(platform, claims, this.#options.nodeKey, binding)
  }

  async #platformFor(
    casKey: Uint8Array,
    nonce: Uint8Array | undefined,
  ): Promise<NodeEvidence | undefined> {
    const { platform, nodeKey, now = Date.now } = this.#options
    const cas = toHex(casKey)
    const kept = this.#kept.get(cas)
    if (kept !== undefined && kept.until > now()) return kept.evidence
    if (nonce === undefined) return undefined
    const evidence = await platform.evidence(nonce, rawPublicKey(nodeKey))
    this.#kept.set(cas, { evidence, until: now() + reuseMs })
    return evidence
  }

  /** One after the other: a TPM has few slots, and what one extends the next must see. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work)
    this.#last = next.catch(() => undefined)
    return next
  }
}

/** Hex of 32 bytes that a schema has seen. */
export function bytes32(hex: string): Uint8Array {
  const bytes = fromHex(hex)
  if (bytes?.length !== 32) throw new TypeError("the schema lets only 32 bytes pass")
  return bytes
}
