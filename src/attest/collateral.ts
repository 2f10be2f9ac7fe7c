import { Cursor, fromHex } from "../bytes/index.ts"
import {
  type Certificate,
  type Crl,
  parseCertificate,
  parseCrl,
  parsePem,
  tag,
} from "../der/index.ts"
import { CofferError } from "../errors.ts"
import { rawMembers, type SignedJson, signatureOf, signedJson } from "./dcap/signed-json.ts"
import { certificateTable } from "./snp/certificate-table.ts"
import { publicKeyOf } from "./x509/signature.ts"

/** A document of Intel's with the chain that came along; the chain's first certificate is the signer. */
export interface SignedDocument extends SignedJson {
  readonly chain: readonly Certificate[]
}

/**
 * What a verification may look things up in: certificates, CRLs, Intel's documents, attestation keys. All of it is
 * parsed only; it is believed for its signatures. The exception are `attestationKeys`: who fills the folder enrols them.
 */
export interface Collateral {
  readonly tcbInfos: readonly SignedDocument[]
  readonly identities: readonly SignedDocument[]
  readonly crls: readonly Crl[]
  readonly certificates: readonly Certificate[]
  readonly attestationKeys: readonly AttestationKey[]
}

/** A TPM's attestation key: its whole public area (TPMT_PUBLIC), or a bare SubjectPublicKeyInfo. */
export type AttestationKey =
  | { readonly kind: "tpmt"; readonly bytes: Uint8Array }
  | { readonly kind: "spki"; readonly bytes: Uint8Array }

export interface CollateralFile {
  /** For messages only: what a file is stands in its content. */
  readonly name: string
  readonly bytes: Uint8Array
}

interface Found {
  readonly tcbInfos: SignedDocument[]
  readonly identities: SignedDocument[]
  readonly crls: Crl[]
  readonly certificates: Certificate[]
  readonly attestationKeys: AttestationKey[]
}

export const noCollateral: Collateral = {
  tcbInfos: [],
  identities: [],
  crls: [],
  certificates: [],
  attestationKeys: [],
}

/** Larger than any CRL or TCB info of today by far; what is larger is not collateral. */
export const collateralFileMax = 16 * 1024 * 1024

/**
 * Reads collateral in the shapes that people keep it in: Intel's PCS answers, one JSON with all of a quote's collateral
 * (`tcb_info`, `tcb_info_signature`, …), PEM, DER, hex of DER, AMD's certificate table, TPMT_PUBLIC. Returns what was
 * found and the names of the files that are none of these. A file that is one of these, but broken, throws.
 */
export function parseCollateral(files: readonly CollateralFile[]): {
  readonly collateral: Collateral
  readonly skipped: readonly string[]
} {
  const found: Found = {
    tcbInfos: [],
    identities: [],
    crls: [],
    certificates: [],
    attestationKeys: [],
  }
  const skipped = files.filter((file) => !readFile(file, found)).map((file) => file.name)
  // PCS gives the signer's chain beside the document (in a header, so in another file).
  const withPool = (document: SignedDocument): SignedDocument =>
    document.chain.length > 0 ? document : { ...document, chain: signersIn(found.certificates) }
  return {
    collateral: {
      ...found,
      tcbInfos: found.tcbInfos.map(withPool),
      identities: found.identities.map(withPool),
    },
    skipped,
  }
}

function isSigner(item: Certificate): boolean {
  return item.subject.commonName === "Intel SGX TCB Signing"
}

function signersIn(certificates: readonly Certificate[]): readonly Certificate[] {
  return [...certificates].toSorted((a, b) => Number(isSigner(b)) - Number(isSigner(a)))
}

function readFile(file: CollateralFile, found: Found): boolean {
  const members = qveMembers(file.bytes)
  if (members !== undefined) return readMembers(members, file.name, found)
  const text = Buffer.from(file.bytes).toString("latin1")
  if (/^\s*\{/.test(text))
    return readJson(Buffer.from(file.bytes).toString("utf8"), file.name, found)
  // A quote has PEM in it too, but it is no text.
  const plain = text.replace(/\0+$/, "")
  if (plain.includes("-----BEGIN") && !plain.includes("\0")) return readPem(plain, file.name, found)
  if (/^[0-9a-fA-F\s]+$/.test(text)) {
    const bytes = fromHex(text.replaceAll(/\s/g, ""))
    return bytes !== undefined && readBinary({ name: file.name, bytes }, found)
  }
  return readBinary(file, found)
}

// Names of the parts in the order of Intel's C structure.
const qveParts = [
  "pck_crl_issuer_chain",
  "root_ca_crl",
  "pck_crl",
  "tcb_info_issuer_chain",
  "tcb_info",
  "qe_identity_issuer_chain",
  "qe_identity",
]

/**
 * `sgx_ql_qve_collateral_t` as programs dump it: version, TEE type, seven times pointer and size, then the parts. The
 * members as JSON texts; undefined when `bytes` is no such dump.
 */
function qveMembers(bytes: Uint8Array): ReadonlyMap<string, string> | undefined {
  const head = 8 + 16 * qveParts.length
  if (bytes.length < head) return undefined
  const cursor = new Cursor(bytes, "collateral")
  const version = cursor.u32("version") & 0xffff
  const tee = cursor.u32("tee type")
  if (version < 1 || version > 4 || (tee !== 0 && tee !== 0x81)) return undefined
  const sizes = qveParts.map((part) => {
    cursor.u64(part)
    return Number(cursor.u64(part))
  })
  if (sizes.reduce((sum, size) => sum + size, head) !== bytes.length) return undefined
  const text = (part: string, i: number): string =>
    Buffer.from(cursor.bytes(sizes[i] ?? 0, part))
      .toString("latin1")
      .replace(/\0$/, "")
  return new Map(qveParts.map((part, i) => [part, JSON.stringify(text(part, i))]))
}

function readBinary(file: CollateralFile, found: Found): boolean {
  const { name } = file
  // tpm2-tools write a TPM2B_PUBLIC: its size first.
  const sized = u16At(file.bytes, 0) === file.bytes.length - 2
  const bytes = sized ? file.bytes.subarray(2) : file.bytes
  const type = u16At(bytes, 0)
  if (type === 0x0001 || type === 0x0023) {
    found.attestationKeys.push({ kind: "tpmt", bytes })
    return true
  }
  const table = certificateTable(bytes)
  if (table !== undefined) {
    found.certificates.push(...table.map((der) => parseCertificate(der, name)))
    return true
  }
  if (bytes[0] !== tag.sequence) return false
  const certificate = attempt(() => parseCertificate(bytes, name))
  const key = attempt(() => publicKeyOf(bytes))
  if (certificate !== undefined) found.certificates.push(certificate)
  else if (key !== undefined) found.attestationKeys.push({ kind: "spki", bytes })
  else found.crls.push(parseCrl(bytes, name))
  return true
}

function u16At(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch (error) {
    if (error instanceof CofferError) return undefined
    throw error
  }
}

function readPem(text: string, name: string, found: Found): boolean {
  const plain = text.includes("%0A") || text.includes("%20") ? decodeURIComponent(text) : text
  let known = false
  for (const { label, bytes } of parsePem(plain)) {
    if (label === "CERTIFICATE") found.certificates.push(parseCertificate(bytes, name))
    else if (label === "X509 CRL") found.crls.push(parseCrl(bytes, name))
    else if (label === "PUBLIC KEY") found.attestationKeys.push({ kind: "spki", bytes })
    else continue
    known = true
  }
  return known
}

function readJson(text: string, name: string, found: Found): boolean {
  const members = rawMembers(text, name)
  if (members.has("tcbInfo") || members.has("enclaveIdentity")) {
    const tcbInfo = signedJson(text, "tcbInfo", name)
    const identity = signedJson(text, "enclaveIdentity", name)
    if (tcbInfo !== undefined) found.tcbInfos.push({ ...tcbInfo, chain: [] })
    if (identity !== undefined) found.identities.push({ ...identity, chain: [] })
    return true
  }
  return readMembers(members, name, found)
}

function readMembers(members: ReadonlyMap<string, string>, name: string, found: Found): boolean {
  if (!members.has("tcb_info") && !members.has("qe_identity")) return false
  pushDocument(members, "tcb_info", "tcbInfo", name, found.tcbInfos)
  pushDocument(members, "qe_identity", "enclaveIdentity", name, found.identities)
  for (const member of ["root_ca_crl", "pck_crl"]) pushCrl(members, member, name, found)
  for (const member of ["pck_crl_issuer_chain", "pck_certificate_chain"]) {
    const pem = stringMember(members, member)
    if (pem !== undefined && pem !== "") readPem(pem, `${name}: ${member}`, found)
  }
  return true
}

function stringMember(members: ReadonlyMap<string, string>, member: string): string | undefined {
  const value: unknown = JSON.parse(members.get(member) ?? "null")
  return typeof value === "string" ? value : undefined
}

function pushDocument(
  members: ReadonlyMap<string, string>,
  member: string,
  wrapped: string,
  name: string,
  to: SignedDocument[],
): void {
  const raw = members.get(member)
  if (raw === undefined) return
  const where = `${name}: ${member}`
  const text = stringMember(members, member) ?? raw
  const pem = stringMember(members, `${member}_issuer_chain`) ?? ""
  const plain = pem.includes("%0A") ? decodeURIComponent(pem) : pem
  const chain = parsePem(plain).map((block) => parseCertificate(block.bytes, where))
  const inner = signedJson(text, wrapped, where)
  const signature =
    inner?.signature ?? signatureOf(stringMember(members, `${member}_signature`), where)
  to.push({ text: inner?.text ?? text, signature, chain })
}

function pushCrl(
  members: ReadonlyMap<string, string>,
  member: string,
  name: string,
  found: Found,
): void {
  const value = stringMember(members, member)
  if (value === undefined || value === "") return
  const where = `${name}: ${member}`
  if (value.includes("-----BEGIN")) {
    readPem(value, where, found)
    return
  }
  const bytes = fromHex(value) ?? new Uint8Array(Buffer.from(value, "base64"))
  found.crls.push(parseCrl(bytes, where))
}
