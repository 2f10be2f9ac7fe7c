import { existsSync, readFileSync } from "node:fs"
import { sealToTpm, selectionsOf, Tpm, TpmCounter, unsealFromTpm } from "../attest/index.ts"
import { type Cas, masterKeyFile, writeNewFile } from "../cas/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"

export interface TpmOptions {
  readonly tpm?: string
  readonly sealTo?: string
}

const sealedMark = "coffer-tpm-sealed-1 "
const counterIndex = 0x01810ca5

/** The master key: plain in a 0600 file, or sealed by the TPM. `create` makes the one that the options ask for. */
export async function masterKey(
  file: string,
  options: TpmOptions,
  create: boolean,
): Promise<Uint8Array> {
  const text = existsSync(file) ? readFileSync(file, "utf8") : undefined
  if (text?.startsWith(sealedMark) === true) {
    const blob = Buffer.from(text.slice(sealedMark.length), "base64")
    return await withTpm(options, (tpm) => unsealFromTpm(tpm, blob))
  }
  if (text !== undefined || !create || options.sealTo === undefined)
    return masterKeyFile(file, create)
  const key = randomBytes(32)
  const pcrs = selectionsOf(options.sealTo.split(","))
  const blob = await withTpm(options, (tpm) => sealToTpm(tpm, key, pcrs))
  writeNewFile(file, `${sealedMark}${Buffer.from(blob).toString("base64")}\n`)
  return key
}

async function withTpm<T>(options: TpmOptions, work: (tpm: Tpm) => Promise<T>): Promise<T> {
  if (options.tpm === undefined)
    throw new CofferError("usage", "--tpm: wanted the TPM that seals the master key, found none", {
      hint: "--tpm /dev/tpmrm0",
    })
  const tpm = await Tpm.open(options.tpm)
  try {
    return await work(tpm)
  } finally {
    await tpm.close()
  }
}

/** Binds the CAS's database to a counter in the TPM, when one is given: an older copy of it is exit 4 at the start. */
export async function bindToTpm(cas: Cas, options: TpmOptions, first: boolean): Promise<void> {
  if (options.tpm === undefined) return
  await withTpm(options, async (tpm) => {
    const counter = new TpmCounter(tpm, counterIndex)
    await counter.ensure()
    await cas.bind(counter, first)
  })
}
