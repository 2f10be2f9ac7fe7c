import { Cursor, concatBytes, equalBytes, fromHex } from "../../bytes/index.ts"
import { type Certificate, parseCertificate } from "../../der/index.ts"
import { CofferError } from "../../errors.ts"
import { Checks, parsed, refuse } from "../checks.ts"
import { verifyPath } from "../x509/path.ts"
import { publicKeyOf } from "../x509/signature.ts"
import { type Credential, makeCredential } from "./credential.ts"
import { attestationKeyName, attributeBits, parseTpmPublic } from "./public-area.ts"
import { sessionPolicy, startSession } from "./seal.ts"
import { algorithms, sized } from "./structures.ts"
import { handles, type Tpm, type TpmKey } from "./tpm.ts"
import { emptyTpm2b, tpm2b, u16, u32 } from "./wire.ts"

const { fixedTpm, fixedParent, sensitiveDataOrigin, restricted, decrypt } = attributeBits
const adminWithPolicy = 1 << 7

/** PolicySecret of the endorsement hierarchy (TCG EK Credential Profile, PolicyA, SHA-256). */
const endorsementPolicy = Uint8Array.fromHex(
  "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
)

/** The endorsement key of RSA 2048 (template L-1): what its maker certified at NV index 0x01c00002. */
const endorsementTemplate = concatBytes(
  u16(algorithms.rsa),
  u16(algorithms.sha256),
  u32(fixedTpm | fixedParent | sensitiveDataOrigin | adminWithPolicy | restricted | decrypt),
  tpm2b(endorsementPolicy),
  u16(0x0006), // AES
  u16(128),
  u16(0x0043), // CFB
  u16(algorithms.null),
  u16(2048),
  u32(0),
  tpm2b(new Uint8Array(256)),
)

const certificateIndex = 0x01c00002

/** The maker's certificate of the RSA endorsement key, DER; `missing` where the TPM has none. */
export async function readEndorsementCertificate(tpm: Tpm): Promise<Uint8Array> {
  try {
    const { parameters } = await tpm.run({ name: "nvReadPublic", handles: [certificateIndex] })
    const area = new Cursor(sized(parameters, "nv public"), "nv public")
    area.bytes(10, "index, nameAlg and attributes")
    sized(area, "policy")
    return trimmed(await tpm.readNv(certificateIndex, area.u16Be("size")))
  } catch (error) {
    if (!(error instanceof CofferError) || error.facts["rc"] !== "0x18b") throw error
    throw new CofferError("missing", "tpm: wanted an endorsement certificate, found none", {
      reason: "ek-certificate",
      hint: "its maker may have it on the web; else enrol the key where you trust the machine",
      cause: error,
    })
  }
}

// Some TPMs pad it.
function trimmed(bytes: Uint8Array): Uint8Array {
  const cursor = new Cursor(bytes, "endorsement certificate")
  cursor.expect(new Uint8Array([0x30, 0x82]), "certificate")
  return bytes.subarray(0, 4 + cursor.u16Be("size"))
}

/** Opens a credential: the TPM shows that it has both the endorsement key and the attestation key. */
export async function activateCredential(tpm: Tpm, credential: Credential): Promise<Uint8Array> {
  const ek = await tpm.createPrimary(handles.endorsement, endorsementTemplate)
  try {
    const ak = await tpm.createAttestationKey()
    try {
      return await activateWith(tpm, ak, ek, credential)
    } finally {
      await tpm.flush(ak.handle)
    }
  } catch (error) {
    if (!(error instanceof CofferError) || error.reason !== "tpm-response") throw error
    throw new CofferError("refused", "credential: wanted one for this TPM, found another's", {
      reason: "credential",
      facts: error.facts,
      cause: error,
    })
  } finally {
    await tpm.flush(ek.handle)
  }
}

async function activateWith(
  tpm: Tpm,
  ak: TpmKey,
  ek: TpmKey,
  { idObject, secret }: Credential,
): Promise<Uint8Array> {
  const session = await startSession(tpm, sessionPolicy)
  try {
    await tpm.run({
      name: "policySecret",
      handles: [handles.endorsement, session],
      sessions: ["password"],
      parameters: concatBytes(emptyTpm2b, emptyTpm2b, emptyTpm2b, u32(0)),
    })
    const { parameters } = await tpm.run({
      name: "activateCredential",
      handles: [ak.handle, ek.handle],
      sessions: ["password", session],
      parameters: concatBytes(idObject, secret),
    })
    return sized(parameters, "credential")
  } catch (error) {
    await tpm.flush(session) // a session that was used up is gone already
    throw error
  }
}

export interface Enrolment {
  /** TPMT_PUBLIC of the attestation key. */
  readonly ak: Uint8Array
  /** DER, as the TPM has it. */
  readonly certificate: Uint8Array
  /** Of its maker: authorities between it and the root, and the root. */
  readonly authorities: readonly Certificate[]
  /** SubjectPublicKeyInfo of roots that are trusted. */
  readonly roots: readonly Uint8Array[]
  /** Unix seconds. */
  readonly now: number
  /** 32 bytes that nobody can guess. */
  readonly value: Uint8Array
}

/**
 * A challenge for a machine far away: the endorsement key's chain is verified, and only a TPM that has this key and this
 * attestation key gives `value` back. Returns the attestation key's Name, which is to be enrolled when it has.
 */
export function challengeEndorsement(enrolment: Enrolment): {
  readonly name: string
  readonly credential: Credential
} {
  const leaf = parsed("ek-malformed", () => parseCertificate(enrolment.certificate, "ek"))
  verifyEndorsement(leaf, enrolment)
  const name = attestationKeyName(enrolment.ak)
  if (parseTpmPublic(enrolment.ak).nameHash !== "sha256")
    throw refuse("ak-attributes", "tpm key: wanted a Name of SHA-256, found another hash")
  const key = parsed("ek-malformed", () => publicKeyOf(leaf.publicKey))
  if (key.asymmetricKeyType !== "rsa")
    throw refuse("ek-malformed", "ek: wanted an RSA endorsement key, found another kind")
  const credential = makeCredential(key, fromHex(name) ?? new Uint8Array(), enrolment.value)
  return { name, credential }
}

const maxLevels = 5
const endorsementUsage = Uint8Array.fromHex("06056781050801") // 2.23.133.8.1
const extendedKeyUsage = "2.5.29.37"
const understood = [extendedKeyUsage, "2.5.29.17", "2.5.29.9"]

/** Names are the maker's; the certificate must be for an endorsement key, and its chain must end in a trusted root. */
function verifyEndorsement(leaf: Certificate, { authorities, roots, now }: Enrolment): void {
  const usage = Buffer.from(leaf.extensions.get(extendedKeyUsage)?.value ?? [])
  if (!usage.includes(endorsementUsage))
    throw refuse("ek-usage", "ek: wanted a certificate of an endorsement key, found another's")
  const roles = [[leaf.subject.commonName ?? ""]]
  let child = leaf
  while (roles.length < maxLevels) {
    roles.push([child.issuer.commonName ?? ""])
    const issuer = authorities.find((item) => equalBytes(item.subject.raw, child.issuer.raw))
    if (issuer === undefined || equalBytes(issuer.issuer.raw, issuer.subject.raw)) break
    child = issuer
  }
  const path = { name: "ek", leaf, pool: authorities, roles, roots, now, understood }
  verifyPath(path, new Checks())
}
