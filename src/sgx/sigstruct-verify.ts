import { constants, type KeyObject, verify } from "node:crypto"
import { equalBytes, isZero, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { isBelow, publicKeyOf, quotients } from "./rsa.ts"
import {
  fieldOf,
  mrSignerOf,
  reservedFields,
  type SigstructClaims,
  type SigstructField,
  signedPart,
  sigstructHeader,
  sigstructHeader2,
  sigstructSize,
} from "./sigstruct.ts"

/**
 * Is it genuine? Each check is an `integrity` error with a reason of its own. Every byte of the 1808 is covered: by the
 * signature, by a fixed value, or by being recomputed. Who signed is for the caller to judge.
 */
export function verifySigstruct(bytes: Uint8Array): SigstructClaims {
  if (bytes.length !== sigstructSize)
    throw fault("size", String(sigstructSize), String(bytes.length), "sigstruct-size")
  expectBytes(bytes, "header", sigstructHeader)
  expectBytes(bytes, "header2", sigstructHeader2)
  expectBytes(bytes, "exponent", Uint8Array.of(3, 0, 0, 0))
  for (const name of reservedFields)
    if (!isZero(fieldOf(bytes, name))) throw fault(name, "zeros", "other bytes", "sigstruct-format")
  const vendor = uint(bytes, "vendor")
  if (vendor !== 0 && vendor !== 0x8086)
    throw fault("vendor", "0 or 0x8086", `0x${vendor.toString(16)}`, "sigstruct-format")
  verifySignature(bytes)
  return {
    mrSigner: mrSignerOf(fieldOf(bytes, "modulus")),
    mrEnclave: fieldOf(bytes, "enclaveHash"),
    // Lenient: some signers wrote the date in binary, and it decides nothing here.
    date: uint(bytes, "date").toString(16).padStart(8, "0"),
    isvProdId: uint(bytes, "isvProdId"),
    isvSvn: uint(bytes, "isvSvn"),
    vendor,
    swDefined: uint(bytes, "swDefined"),
    miscSelect: uint(bytes, "miscSelect"),
    miscMask: uint(bytes, "miscMask"),
    cetAttributes: uint(bytes, "cetAttributes"),
    cetAttributesMask: uint(bytes, "cetAttributesMask"),
    attributes: fieldOf(bytes, "attributes"),
    attributeMask: fieldOf(bytes, "attributeMask"),
    isvFamilyId: fieldOf(bytes, "isvFamilyId"),
    isvExtProdId: fieldOf(bytes, "isvExtProdId"),
  }
}

function verifySignature(bytes: Uint8Array): void {
  const modulus = fieldOf(bytes, "modulus")
  const signature = fieldOf(bytes, "signature")
  // The modulus comes from the adversary: 3072 bits, odd, or there is no such key.
  if ((modulus[383] ?? 0) < 0x80 || (modulus[0] ?? 0) % 2 === 0)
    throw fault("modulus", "an odd number of 3072 bits", "another number", "sigstruct-format")
  const key = importKey(modulus)
  const padding = constants.RSA_PKCS1_PADDING
  const genuine =
    isBelow(signature, modulus) &&
    verify("sha256", signedPart(bytes), { key, padding }, signature.toReversed())
  if (!genuine) throw fault("signature", "one by the key in it", "another", "sigstruct-signature")
  const { q1, q2 } = quotients(signature, modulus)
  if (!equalBytes(q1, fieldOf(bytes, "q1")))
    throw fault("q1", "S^2 / N", "another number", "sigstruct-q1")
  if (!equalBytes(q2, fieldOf(bytes, "q2")))
    throw fault("q2", "S (S^2 mod N) / N", "another number", "sigstruct-q2")
}

function importKey(modulus: Uint8Array): KeyObject {
  try {
    return publicKeyOf(modulus)
  } catch (cause) {
    throw new CofferError("integrity", "SIGSTRUCT: modulus: wanted an RSA key, found none", {
      cause,
      reason: "sigstruct-format",
    })
  }
}

function expectBytes(bytes: Uint8Array, name: SigstructField, want: Uint8Array): void {
  const have = fieldOf(bytes, name)
  if (!equalBytes(have, want)) throw fault(name, toHex(want), toHex(have), "sigstruct-format")
}

function uint(bytes: Uint8Array, name: SigstructField): number {
  const field = Buffer.from(fieldOf(bytes, name))
  return field.readUIntLE(0, field.length)
}

function fault(field: string, want: string, have: string, reason: string): CofferError {
  return new CofferError("integrity", `SIGSTRUCT: ${field}: wanted ${want}, found ${have}`, {
    reason,
    facts: { field },
  })
}
