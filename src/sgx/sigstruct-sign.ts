import { constants, sign } from "node:crypto"
import { quotients, type RsaSigningKey, rsaSize } from "./rsa.ts"
import {
  mrSignerOf,
  refuseSampleSigner,
  type SigstructField,
  type SigstructFields,
  signedPart,
  sigstructHeader,
  sigstructHeader2,
  sigstructSize,
  sigstructTable,
} from "./sigstruct.ts"

export interface SignOptions {
  /** For test vectors only: sign with the key that Intel publishes. */
  readonly insecureAllowSampleKey?: boolean
}

/** 1808 bytes. Deterministic: PKCS#1 v1.5 has no random. The published sample key is refused. */
export function signSigstruct(
  fields: SigstructFields,
  key: RsaSigningKey,
  options: SignOptions = {},
): Uint8Array {
  if (options.insecureAllowSampleKey !== true) refuseSampleSigner(mrSignerOf(key.modulus))
  const out = unsigned(fields, key.modulus)
  const padding = constants.RSA_PKCS1_PADDING
  const signature = sign("sha256", signedPart(out), { key: key.privateKey, padding }).toReversed()
  if (signature.length !== rsaSize) throw new TypeError("an RSA-3072 signature has 384 bytes")
  put(out, "signature", signature)
  const { q1, q2 } = quotients(signature, key.modulus)
  put(out, "q1", q1)
  put(out, "q2", q2)
  return out
}

function unsigned(fields: SigstructFields, modulus: Uint8Array): Uint8Array {
  const out = new Uint8Array(sigstructSize)
  put(out, "header", sigstructHeader)
  put(out, "vendor", integer(fields.vendor, 4))
  put(out, "date", integer(Number.parseInt(checkedDate(fields.date), 16), 4))
  put(out, "header2", sigstructHeader2)
  put(out, "swDefined", integer(fields.swDefined, 4))
  put(out, "modulus", modulus)
  put(out, "exponent", integer(3, 4))
  put(out, "miscSelect", integer(fields.miscSelect, 4))
  put(out, "miscMask", integer(fields.miscMask, 4))
  put(out, "cetAttributes", integer(fields.cetAttributes, 1))
  put(out, "cetAttributesMask", integer(fields.cetAttributesMask, 1))
  put(out, "isvFamilyId", fields.isvFamilyId)
  put(out, "attributes", fields.attributes)
  put(out, "attributeMask", fields.attributeMask)
  put(out, "enclaveHash", fields.mrEnclave)
  put(out, "isvExtProdId", fields.isvExtProdId)
  put(out, "isvProdId", integer(fields.isvProdId, 2))
  put(out, "isvSvn", integer(fields.isvSvn, 2))
  return out
}

// The date is BCD: its digits are its hex digits.
function checkedDate(date: string): string {
  if (!/^[0-9a-f]{8}$/.test(date)) throw new TypeError(`a date has 8 digits, ${date} has not`)
  return date
}

function integer(value: number, size: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size))
    throw new TypeError(`${value} does not fit into ${size} bytes`)
  const out = Buffer.alloc(size)
  out.writeUIntLE(value, 0, size)
  return out
}

function put(out: Uint8Array, name: SigstructField, value: Uint8Array): void {
  const field = sigstructTable.find(([candidate]) => candidate === name)
  if (field?.[2] !== value.length)
    throw new TypeError(`SIGSTRUCT ${name} does not have ${value.length} bytes`)
  out.set(value, field[1])
}
