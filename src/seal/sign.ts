import { toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  type RsaSigningKey,
  type SigstructClaims,
  signSigstruct,
  verifySigstruct,
} from "../sgx/index.ts"
import { emitSealedHead } from "./layout.ts"
import { looksSealed, readSealed, type SealedBinary } from "./read.ts"
import { openFile } from "./source.ts"
import { replaceHead } from "./write.ts"

export interface SignInput {
  readonly key: RsaSigningKey
  readonly isvProdId: number
  readonly isvSvn: number
  /** `yyyymmdd`. */
  readonly date: string
}

/** DEBUG (bit 1) as in the manifest, MODE64BIT (bit 2), XFRM x87 and SSE; the masks fix every bit. */
const attributes = {
  plain: "04000000000000000300000000000000",
  debug: "06000000000000000300000000000000",
}
const allBits = "ffffffffffffffffffffffffffffffff"

/** Signs a sealed binary in place of any signature that it has. Deterministic; MrEnclave and the files do not change. */
export function signSealed(path: string, input: SignInput): SigstructClaims {
  const { head, claims } = signedHead(readOnce(path), input)
  replaceHead(path, head)
  return claims
}

export interface SignedHead {
  /** What stands in the binary in place of its head, of the same size. */
  readonly head: Uint8Array
  readonly claims: SigstructClaims
}

export function signedHead(binary: SealedBinary, input: SignInput): SignedHead {
  if (!isDate(input.date))
    throw new CofferError("usage", `date: wanted yyyymmdd, found ${JSON.stringify(input.date)}`)
  const zeros = new Uint8Array(16)
  const sigstruct = signSigstruct(
    {
      mrEnclave: binary.mrEnclave,
      date: input.date,
      isvProdId: input.isvProdId,
      isvSvn: input.isvSvn,
      vendor: 0,
      swDefined: 0,
      miscSelect: 0,
      miscMask: 0xffff_ffff,
      cetAttributes: 0,
      cetAttributesMask: 0xff,
      attributes: Uint8Array.fromHex(binary.manifest.debug ? attributes.debug : attributes.plain),
      attributeMask: Uint8Array.fromHex(allBits),
      isvFamilyId: zeros,
      isvExtProdId: zeros,
    },
    input.key,
  )
  const head = emitSealedHead(binary.manifest, toHex(binary.mrEnclave), sigstruct)
  return { head, claims: verifySigstruct(sigstruct) }
}

function isDate(date: string): boolean {
  const [, year = "", month = "", day = ""] = /^(\d{4})(\d{2})(\d{2})$/.exec(date) ?? []
  const at = new Date(`${year}-${month}-${day}T00:00:00Z`)
  return !Number.isNaN(at.getTime()) && at.getUTCDate() === Number(day)
}

function readOnce(path: string): SealedBinary {
  const file = openFile(path)
  try {
    const start = new Uint8Array(Math.min(file.size, 0x5000))
    file.read(start, 0)
    if (looksSealed(start)) return readSealed(file)
    throw new CofferError("config", `${path}: wanted a sealed binary, found something else`, {
      hint: "make one with: coffer seal DIR OUT --manifest coffer.yaml",
    })
  } finally {
    file.close()
  }
}
