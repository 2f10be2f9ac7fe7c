import { setTimeout as wait } from "node:timers/promises"
import { concatBytes, toHex } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import type { TpmHash } from "../claims.ts"
import { attributeBits } from "./public-area.ts"
import { algorithms, type PcrSelection, readSelections, sized } from "./structures.ts"
import { openTpmTransport, type TpmTransport } from "./transport.ts"
import {
  type CommandRequest,
  type CommandResponse,
  decodeResponse,
  emptyTpm2b,
  encodeCommand,
  pcrSelections,
  tpm2b,
  u16,
  u32,
} from "./wire.ts"

/** Hierarchies and the empty authorisation that they have on machines where nobody set one. */
export const handles = { owner: 0x40000001, endorsement: 0x4000000b, null: 0x40000007 } as const

export interface TpmKey {
  readonly handle: number
  /** TPMT_PUBLIC. */
  readonly publicArea: Uint8Array
}

const { fixedTpm, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, decrypt, sign } =
  attributeBits
const born = fixedTpm | fixedParent | sensitiveDataOrigin | userWithAuth

/** ECC P-256 that signs only what its TPM made: the same key at every boot, until the TPM is cleared. */
const attestationTemplate = concatBytes(
  u16(algorithms.ecc),
  u16(algorithms.sha256),
  u32(born | restricted | sign),
  emptyTpm2b,
  u16(algorithms.null),
  u16(algorithms.ecdsa),
  u16(algorithms.sha256),
  u16(3),
  u16(algorithms.null),
  emptyTpm2b,
  emptyTpm2b,
)

const aes = 0x0006
const cfb = 0x0043

/** ECC P-256 that keeps other keys: AES-128-CFB, as the TCG's storage root key. */
const storageTemplate = concatBytes(
  u16(algorithms.ecc),
  u16(algorithms.sha256),
  u32(born | restricted | decrypt),
  emptyTpm2b,
  u16(aes),
  u16(128),
  u16(cfb),
  u16(algorithms.null),
  u16(3),
  u16(algorithms.null),
  emptyTpm2b,
  emptyTpm2b,
)

/** TPM2B_SENSITIVE_CREATE with an empty authorisation and `data`. */
export function sensitive(data: Uint8Array): Uint8Array {
  return tpm2b(concatBytes(emptyTpm2b, tpm2b(data)))
}

/** No TPM gives less at once. */
const nvPiece = 512

/** TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY: the TPM did nothing, and wants to be asked again. */
const busyCodes: readonly unknown[] = ["0x908", "0x90a", "0x922"]
const retryMax = 200
const retryMs = 10

/** Commands to one TPM, one after the other. Not ours to close: sessions and keys that a caller made, it flushes. */
export class Tpm {
  readonly #transport: TpmTransport
  #last: Promise<unknown> = Promise.resolve()

  constructor(transport: TpmTransport) {
    this.#transport = transport
  }

  static async open(address: string): Promise<Tpm> {
    return new Tpm(await openTpmTransport(address))
  }

  async close(): Promise<void> {
    await this.#transport.close()
  }

  run(request: CommandRequest, hasHandle = false): Promise<CommandResponse> {
    const next = this.#last.then(() => this.#runNow(request, hasHandle, retryMax))
    this.#last = next.catch(() => undefined)
    return next
  }

  async #runNow(
    request: CommandRequest,
    hasHandle: boolean,
    retries: number,
  ): Promise<CommandResponse> {
    const response = await this.#transport.transceive(encodeCommand(request))
    try {
      return decodeResponse(request, response, hasHandle)
    } catch (error) {
      const busy = error instanceof CofferError && busyCodes.includes(error.facts["rc"])
      if (!busy || retries === 0) throw error
      await wait(retryMs)
      return this.#runNow(request, hasHandle, retries - 1)
    }
  }

  async getRandom(count: number): Promise<Uint8Array> {
    const { parameters } = await this.run({ name: "getRandom", parameters: u16(count) })
    return sized(parameters, "random")
  }

  async extendPcr(index: number, bank: TpmHash, digest: Uint8Array): Promise<void> {
    await this.run({
      name: "pcrExtend",
      handles: [index],
      sessions: ["password"],
      parameters: concatBytes(u32(1), u16(algorithms[bank]), digest),
    })
  }

  /** `sha256:16` to hex, as claims and policies have it. A register that the TPM does not have is `missing`. */
  async readPcrs(selections: readonly PcrSelection[]): Promise<Readonly<Record<string, string>>> {
    const values: Record<string, string> = {}
    for (const { bank, indices } of selections)
      for (let at = 0; at < indices.length; at += 8) {
        const wanted = indices.slice(at, at + 8)
        const { parameters } = await this.run({
          name: "pcrRead",
          parameters: pcrSelections([{ bank, indices: wanted }]),
        })
        parameters.u32Be("update counter")
        readSelections(parameters)
        const count = parameters.u32Be("digest count")
        if (count !== wanted.length)
          throw new CofferError("missing", `tpm: wanted a PCR bank ${bank}, found none`)
        for (const index of wanted) values[`${bank}:${index}`] = toHex(sized(parameters, "digest"))
      }
    return values
  }

  /** The attestation key: a primary key of the endorsement hierarchy, so it needs no storage. Flush it. */
  createAttestationKey(): Promise<TpmKey> {
    return this.createPrimary(handles.endorsement, attestationTemplate)
  }

  createStorageKey(): Promise<TpmKey> {
    return this.createPrimary(handles.owner, storageTemplate)
  }

  /** Flush it. */
  async createPrimary(hierarchy: number, template: Uint8Array): Promise<TpmKey> {
    const { handle, parameters } = await this.run(
      {
        name: "createPrimary",
        handles: [hierarchy],
        sessions: ["password"],
        parameters: concatBytes(
          sensitive(new Uint8Array()),
          tpm2b(template),
          emptyTpm2b,
          u32(0), // no PCRs in the creation data
        ),
      },
      true,
    )
    return { handle, publicArea: sized(parameters, "public area") }
  }

  /** TPMS_ATTEST and TPMT_SIGNATURE. */
  async quote(
    key: Pick<TpmKey, "handle">,
    qualifyingData: Uint8Array,
    selections: readonly PcrSelection[],
  ): Promise<{ readonly message: Uint8Array; readonly signature: Uint8Array }> {
    const { parameters } = await this.run({
      name: "quote",
      handles: [key.handle],
      sessions: ["password"],
      parameters: concatBytes(
        tpm2b(qualifyingData),
        u16(algorithms.null),
        pcrSelections(selections),
      ),
    })
    const message = sized(parameters, "quoted")
    return { message, signature: parameters.bytes(parameters.remaining, "signature") }
  }

  /** `size` bytes at `index`, with the owner's authorisation. */
  async readNv(index: number, size: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = []
    for (let at = 0; at < size; at += nvPiece) {
      const { parameters } = await this.run({
        name: "nvRead",
        handles: [handles.owner, index],
        sessions: ["password"],
        parameters: concatBytes(u16(Math.min(nvPiece, size - at)), u16(at)),
      })
      parts.push(sized(parameters, "nv data"))
    }
    return concatBytes(...parts)
  }

  async flush(handle: number): Promise<void> {
    await this.run({ name: "flushContext", parameters: u32(handle) })
  }
}

/** PCR names such as `sha256:16` as selections, in the order of their banks, indices ascending. */
export function selectionsOf(names: readonly string[]): readonly PcrSelection[] {
  const banks = new Map<TpmHash, number[]>()
  for (const name of names) {
    const match = /^(sha1|sha256|sha384|sha512):(\d{1,2})$/.exec(name)
    if (match === null)
      throw new CofferError("config", `pcr: wanted a name such as sha256:16, found ${name}`)
    const bank = match[1] as TpmHash
    banks.set(bank, [...(banks.get(bank) ?? []), Number(match[2])])
  }
  return [...banks].map(([bank, indices]) => ({
    bank,
    indices: [...new Set(indices)].toSorted((a, b) => a - b),
  }))
}
