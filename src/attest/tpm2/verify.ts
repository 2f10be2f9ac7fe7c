import { constants, type KeyObject, verify } from "node:crypto"
import { concatBytes, equalBytes, fromHex, toHex } from "../../bytes/index.ts"
import { Checks, parsed, refuse } from "../checks.ts"
import type { Tpm2Claims } from "../claims.ts"
import type { AttestationKey } from "../collateral.ts"
import { publicKeyOf } from "../x509/signature.ts"
import {
  isAttestationKey,
  keyDigest,
  parseTpmPublic,
  type TpmPublic,
  tpmName,
} from "./public-area.ts"
import {
  digestOf,
  hashSizes,
  parseTpmQuote,
  parseTpmSignature,
  type TpmQuote,
  type TpmSignature,
} from "./structures.ts"

export interface TpmQuoteInput {
  /** TPMS_ATTEST. */
  readonly message: Uint8Array
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array
  /** The attestation key. That it is one that somebody enrolled is for `validate` to say. */
  readonly ak: AttestationKey
  /** `sha256:16` to hex, as the host gives them; undefined: none came along. */
  readonly pcrs: Readonly<Record<string, string>> | undefined
  /** What the qualifying data must be; undefined: not checked. */
  readonly nonce: Uint8Array | undefined
}

interface Key {
  readonly key: KeyObject
  readonly area: TpmPublic | undefined
}

/** Genuine? A TPM 2.0 quote by `ak`. It proves hardware only as far as the key's enrolment does. */
export function verifyTpmQuote(input: TpmQuoteInput): Tpm2Claims {
  const checks = new Checks()
  const signature = parsed("tpm-signature-malformed", () => parseTpmSignature(input.signature))
  const key = keyOf(input.ak)
  const quote = parsed("tpm-quote-malformed", () => parseTpmQuote(input.message))
  checkSignature(quote, signature, key, checks)
  return quoteClaims(quote, signature, key, input, checks)
}

function keyOf(ak: AttestationKey): Key {
  return parsed("ak-malformed", () => {
    if (ak.kind === "tpmt") {
      const area = parseTpmPublic(ak.bytes)
      return { key: area.key, area }
    }
    return { key: publicKeyOf(ak.bytes), area: undefined }
  })
}

function checkSignature(quote: TpmQuote, signature: TpmSignature, key: Key, checks: Checks): void {
  checks.require(
    signatureHolds(quote.raw, signature, key.key),
    "tpm-signature",
    "tpm quote: wanted a signature by the attestation key, found one that does not verify",
  )
  // Whoever can make two messages with one SHA-1 can have one quoted and show the other.
  checks.require(
    signature.hash !== "sha1",
    "tpm-signature-hash",
    "tpm quote: wanted a signature over SHA-256 or better, found SHA-1",
  )
  const { area } = key
  if (area === undefined) {
    checks.passed("ak-attributes", "not checked: the key is given without its public area")
    return
  }
  checks.require(
    isAttestationKey(area),
    "ak-attributes",
    `tpm quote: wanted a restricted signing key of its TPM, found attributes ${area.attributes.toString(16)}`,
  )
  checks.require(
    area.scheme === undefined ||
      (area.scheme.scheme === signature.scheme && area.scheme.hash === signature.hash),
    "ak-scheme",
    "tpm quote: wanted the signing scheme of the attestation key, found another",
  )
}

/** Whether the signature verifies; kinds of key and signature that do not fit verify nothing. */
function signatureHolds(data: Uint8Array, signature: TpmSignature, key: KeyObject): boolean {
  const { scheme, hash, bytes } = signature
  if (scheme === "ecdsa")
    return (
      key.asymmetricKeyType === "ec" &&
      verify(hash, data, { key, dsaEncoding: "ieee-p1363" }, bytes)
    )
  if (key.asymmetricKeyType !== "rsa") return false
  if (scheme === "rsassa") return verify(hash, data, key, bytes)
  // TPMs take the largest salt or the digest's size, as the vendor likes.
  const saltLength = constants.RSA_PSS_SALTLEN_AUTO
  return verify(hash, data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, bytes)
}

function quoteClaims(
  quote: TpmQuote,
  signature: TpmSignature,
  { key, area }: Key,
  input: TpmQuoteInput,
  checks: Checks,
): Tpm2Claims {
  if (input.nonce === undefined) checks.passed("nonce", "not checked: none was given")
  else
    checks.require(
      equalBytes(quote.extraData, input.nonce),
      "nonce",
      `tpm quote: wanted the nonce ${toHex(input.nonce)}, found ${toHex(quote.extraData)}`,
    )
  const selection = selectionOf(quote)
  if (input.pcrs === undefined) checks.passed("pcr-digest", "values not checked: none came along")
  else checkPcrs(quote, signature, selection, input.pcrs, checks)
  return {
    type: "tpm2",
    akName: (area === undefined ? undefined : tpmName(area)) ?? "",
    akKey: keyDigest(key),
    akRestricted: area !== undefined,
    signatureHash: signature.hash,
    selection,
    pcrs: input.pcrs ?? {},
    pcrDigest: toHex(quote.pcrDigest),
    extraData: toHex(quote.extraData),
    clock: String(quote.clock),
    resetCount: quote.resetCount,
    restartCount: quote.restartCount,
    firmwareVersion: quote.firmwareVersion.toString(16).padStart(16, "0"),
    checks: checks.done,
  }
}

function selectionOf(quote: TpmQuote): readonly string[] {
  return quote.selections.flatMap(({ bank, indices }) => indices.map((index) => `${bank}:${index}`))
}

// The digest is over the values in the order of the selection, by the hash of the signature, whatever the banks are.
function checkPcrs(
  quote: TpmQuote,
  signature: TpmSignature,
  selection: readonly string[],
  pcrs: Readonly<Record<string, string>>,
  checks: Checks,
): void {
  const values = selection.map((name) => valueOf(name, pcrs))
  if (Object.keys(pcrs).length !== new Set(selection).size)
    throw refuse("pcr-selection", "tpm quote: wanted values for the quoted PCRs only, found more")
  if (signature.hash === "sha1") throw new TypeError("SHA-1 was refused before")
  const digest = digestOf(signature.hash, concatBytes(...values))
  checks.require(
    equalBytes(digest, quote.pcrDigest),
    "pcr-digest",
    `tpm quote: wanted the PCR digest ${toHex(quote.pcrDigest)}, found values with ${toHex(digest)}`,
  )
}

function valueOf(name: string, pcrs: Readonly<Record<string, string>>): Uint8Array {
  const text = pcrs[name]
  const value = text === undefined || text.toLowerCase() !== text ? undefined : fromHex(text)
  const bank = name.slice(0, name.indexOf(":"))
  const size = Object.entries(hashSizes).find(([hash]) => hash === bank)?.[1]
  if (value === undefined || value.length !== size)
    throw refuse("pcr-selection", `tpm quote: wanted the value of ${name}, found ${text ?? "none"}`)
  return value
}
