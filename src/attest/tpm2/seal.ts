import { Cursor, concatBytes } from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import { attributeBits } from "./public-area.ts"
import { algorithms, type PcrSelection, readSelections, sized } from "./structures.ts"
import { handles, sensitive, type Tpm } from "./tpm.ts"
import { emptyTpm2b, pcrSelections, tpm2b, u8, u16, u32 } from "./wire.ts"

/** More than that no TPM seals (MAX_SYM_DATA). */
export const sealedDataMax = 128

const keyedHash = 0x0008
export const sessionPolicy = 0x01
const sessionTrial = 0x03

/**
 * Seals `data` to the present values of `pcrs`: only this TPM gives it back, and only while they are the same. The blob
 * is for any disk: selection, private and public part, each behind its size.
 */
export async function sealToTpm(
  tpm: Tpm,
  data: Uint8Array,
  pcrs: readonly PcrSelection[],
): Promise<Uint8Array> {
  if (data.length === 0 || data.length > sealedDataMax)
    throw new TypeError(`a TPM seals 1 to ${sealedDataMax} bytes`)
  const policy = await policyDigest(tpm, pcrs)
  const parent = await tpm.createStorageKey()
  try {
    const template = concatBytes(
      u16(keyedHash),
      u16(algorithms.sha256),
      u32(attributeBits.fixedTpm | attributeBits.fixedParent),
      tpm2b(policy),
      u16(algorithms.null),
      emptyTpm2b,
    )
    const { parameters } = await tpm.run({
      name: "create",
      handles: [parent.handle],
      sessions: ["password"],
      parameters: concatBytes(sensitive(data), tpm2b(template), emptyTpm2b, u32(0)),
    })
    const privatePart = sized(parameters, "private")
    const publicPart = sized(parameters, "public")
    return concatBytes(tpm2b(pcrSelections(pcrs)), tpm2b(privatePart), tpm2b(publicPart))
  } finally {
    await tpm.flush(parent.handle)
  }
}

/** Gives back what `sealToTpm` sealed. Other PCR values, another TPM or a changed blob: `integrity`. */
export async function unsealFromTpm(tpm: Tpm, blob: Uint8Array): Promise<Uint8Array> {
  const cursor = new Cursor(blob, "sealed blob")
  const selection = sized(cursor, "selection")
  const privatePart = sized(cursor, "private")
  const publicPart = sized(cursor, "public")
  cursor.end()
  const pcrs = readSelections(new Cursor(selection, "sealed blob"))
  const parent = await tpm.createStorageKey()
  try {
    return await unsealUnder(tpm, parent.handle, { privatePart, publicPart }, pcrs)
  } catch (error) {
    if (!(error instanceof CofferError) || error.reason !== "tpm-response") throw error
    throw new CofferError(
      "integrity",
      "sealed blob: wanted the TPM and the PCR values that it was sealed to, found others",
      { reason: "tpm-sealed", facts: error.facts, cause: error },
    )
  } finally {
    await tpm.flush(parent.handle)
  }
}

async function unsealUnder(
  tpm: Tpm,
  parent: number,
  parts: { readonly privatePart: Uint8Array; readonly publicPart: Uint8Array },
  pcrs: readonly PcrSelection[],
): Promise<Uint8Array> {
  const { handle } = await tpm.run(
    {
      name: "load",
      handles: [parent],
      sessions: ["password"],
      parameters: concatBytes(tpm2b(parts.privatePart), tpm2b(parts.publicPart)),
    },
    true,
  )
  try {
    const session = await startSession(tpm, sessionPolicy)
    try {
      await policyPcr(tpm, session, pcrs)
      const { parameters } = await tpm.run({
        name: "unseal",
        handles: [handle],
        sessions: [session],
      })
      return sized(parameters, "data")
    } catch (error) {
      await tpm.flush(session) // a session that was used up is gone already
      throw error
    }
  } finally {
    await tpm.flush(handle)
  }
}

async function policyDigest(tpm: Tpm, pcrs: readonly PcrSelection[]): Promise<Uint8Array> {
  const session = await startSession(tpm, sessionTrial)
  try {
    await policyPcr(tpm, session, pcrs)
    const { parameters } = await tpm.run({ name: "policyGetDigest", handles: [session] })
    return sized(parameters, "digest")
  } finally {
    await tpm.flush(session)
  }
}

export async function startSession(tpm: Tpm, kind: number): Promise<number> {
  // No secret is shared and nothing encrypted: the nonce only has to be there.
  const nonce = sha256(await tpm.getRandom(16)).subarray(0, 16)
  const { handle } = await tpm.run(
    {
      name: "startAuthSession",
      handles: [handles.null, handles.null],
      parameters: concatBytes(
        tpm2b(nonce),
        emptyTpm2b,
        u8(kind),
        u16(algorithms.null),
        u16(algorithms.sha256),
      ),
    },
    true,
  )
  return handle
}

async function policyPcr(tpm: Tpm, session: number, pcrs: readonly PcrSelection[]): Promise<void> {
  await tpm.run({
    name: "policyPcr",
    handles: [session],
    parameters: concatBytes(emptyTpm2b, pcrSelections(pcrs)),
  })
}
