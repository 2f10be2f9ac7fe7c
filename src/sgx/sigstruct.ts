import { type StructTable, structSize, toHex } from "../bytes/index.ts"
import { sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"

/** SIGSTRUCT, all little-endian. The signature is over `[0, 128)` and `[900, 1028)`. */
export const sigstructTable = [
  ["header", 0, 16],
  ["vendor", 16, 4],
  ["date", 20, 4],
  ["header2", 24, 16],
  ["swDefined", 40, 4],
  ["reserved1", 44, 84],
  ["modulus", 128, 384],
  ["exponent", 512, 4],
  ["signature", 516, 384],
  ["miscSelect", 900, 4],
  ["miscMask", 904, 4],
  ["cetAttributes", 908, 1],
  ["cetAttributesMask", 909, 1],
  ["reserved2", 910, 2],
  ["isvFamilyId", 912, 16],
  ["attributes", 928, 16],
  ["attributeMask", 944, 16],
  ["enclaveHash", 960, 32],
  ["reserved3", 992, 16],
  ["isvExtProdId", 1008, 16],
  ["isvProdId", 1024, 2],
  ["isvSvn", 1026, 2],
  ["reserved4", 1028, 12],
  ["q1", 1040, 384],
  ["q2", 1424, 384],
] as const satisfies StructTable

export type SigstructField = (typeof sigstructTable)[number][0]

export const sigstructSize = structSize(sigstructTable)

export const sigstructHeader = Uint8Array.fromHex("06000000e10000000000010000000000")
export const sigstructHeader2 = Uint8Array.fromHex("01010000600000006000000001000000")
export const reservedFields: readonly SigstructField[] = [
  "reserved1",
  "reserved2",
  "reserved3",
  "reserved4",
]

/** What a signer states. Byte arrays have the sizes of the table. */
export interface SigstructFields {
  readonly mrEnclave: Uint8Array
  /** 8 digits `yyyymmdd`, or as it stood in the structure: 8 hex digits when it is no decimal date. */
  readonly date: string
  readonly isvProdId: number
  readonly isvSvn: number
  /** 0, or 0x8086 for Intel's own. */
  readonly vendor: number
  readonly swDefined: number
  readonly miscSelect: number
  readonly miscMask: number
  readonly cetAttributes: number
  readonly cetAttributesMask: number
  /** FLAGS and XFRM, 16 bytes. Bit 1 of FLAGS is DEBUG. */
  readonly attributes: Uint8Array
  readonly attributeMask: Uint8Array
  readonly isvFamilyId: Uint8Array
  readonly isvExtProdId: Uint8Array
}

/** What a genuine signature says, and by whom. */
export interface SigstructClaims extends SigstructFields {
  readonly mrSigner: Uint8Array
}

/** A copy of the field's bytes. */
export function fieldOf(bytes: Uint8Array, name: SigstructField): Uint8Array {
  const field = sigstructTable.find(([candidate]) => candidate === name)
  if (field === undefined) throw new TypeError(`SIGSTRUCT has no field ${name}`)
  return bytes.slice(field[1], field[1] + field[2])
}

/** The 256 bytes that are signed. */
export function signedPart(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, 128), bytes.subarray(900, 1028)])
}

/** MrSigner: SHA-256 of the modulus as SIGSTRUCT stores it. */
export function mrSignerOf(modulus: Uint8Array): Uint8Array {
  return sha256(modulus)
}

/** MrSigner of the sample key that stands, private half included, in Intel's SDK: everybody can sign with it. */
export const sampleMrSigner = "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e"

/** Throws `refused` for a signer whose private key is published. */
export function refuseSampleSigner(mrSigner: Uint8Array): void {
  if (toHex(mrSigner) !== sampleMrSigner) return
  throw new CofferError(
    "refused",
    `signer: wanted a private key, found the sample key that Intel's SDK publishes (MrSigner ${sampleMrSigner.slice(0, 8)}…)`,
    {
      reason: "sample-signer",
      hint: "make a key of your own with: coffer keygen --sign KEY.pem",
      facts: { mrSigner: sampleMrSigner },
    },
  )
}

/** The fields as text and numbers, for `--json` and for comparisons. */
export function describeFields(claims: SigstructClaims): Record<string, string | number> {
  return {
    mrEnclave: toHex(claims.mrEnclave),
    mrSigner: toHex(claims.mrSigner),
    isvProdId: claims.isvProdId,
    isvSvn: claims.isvSvn,
    date: claims.date,
    vendor: claims.vendor,
    swDefined: claims.swDefined,
    miscSelect: claims.miscSelect,
    miscMask: claims.miscMask,
    cetAttributes: claims.cetAttributes,
    cetAttributesMask: claims.cetAttributesMask,
    attributes: toHex(claims.attributes),
    attributeMask: toHex(claims.attributeMask),
    isvFamilyId: toHex(claims.isvFamilyId),
    isvExtProdId: toHex(claims.isvExtProdId),
  }
}
