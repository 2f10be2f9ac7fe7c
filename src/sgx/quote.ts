import { Cursor, fromHex, type StructTable } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  readSgxReport,
  readTdReport,
  type SgxReport,
  type TdReport,
  td10Size,
  td15Size,
} from "./report-body.ts"

/** The header of a DCAP quote, versions 3 to 5. Little-endian. */
export const quoteHeaderTable = [
  ["version", 0, 2],
  ["attestationKeyType", 2, 2],
  ["teeType", 4, 4],
  ["reserved", 8, 4],
  ["qeVendorId", 12, 16],
  ["userData", 28, 20],
] as const satisfies StructTable

const headerSize = 48
const intelQe = fromHex("939a7233f79c4ca9940a0db3957f0607") ?? new Uint8Array()
const ecdsaP256 = 2
const teeSgx = 0
const teeTdx = 0x81
/** Larger than any quote in the wild; bounds what a parser looks at. */
const quoteMax = 64 * 1024

export type QuoteBody =
  | { readonly tee: "sgx"; readonly report: SgxReport }
  | { readonly tee: "tdx"; readonly report: TdReport }

/** The certification data at the end: PEM chain (5), or an encrypted or plain platform id (1 to 3) that names the PCK. */
export interface CertificationData {
  readonly type: number
  readonly data: Uint8Array
}

export interface Quote {
  readonly version: 3 | 4 | 5
  readonly body: QuoteBody
  /** Header and body (and, in version 5, the body's descriptor): what the attestation key signed. */
  readonly signed: Uint8Array
  /** r and s, 32 bytes each, big-endian. */
  readonly signature: Uint8Array
  /** x and y of the attestation key on P-256. */
  readonly attestationKey: Uint8Array
  /** The quoting enclave's report, and the PCK's signature over it. */
  readonly qeReport: SgxReport
  readonly qeReportSignature: Uint8Array
  readonly qeAuthData: Uint8Array
  readonly certification: CertificationData
  /** What follows the signature data. Hosts hand out buffers with zeros at the end; anything else is no part of a quote. */
  readonly trailing: Uint8Array
}

/**
 * A DCAP quote, version 3 (SGX), 4 or 5 (SGX, TDX 1.0, TDX 1.5). Every byte has a place: lengths add up.
 */
export function parseQuote(bytes: Uint8Array): Quote {
  if (bytes.length > quoteMax)
    throw new CofferError(
      "integrity",
      `quote: wanted at most ${quoteMax} bytes, found ${bytes.length}`,
    )
  const cursor = new Cursor(bytes, "quote")
  const version = cursor.u16("version")
  if (version !== 3 && version !== 4 && version !== 5)
    throw cursor.fault("version", "3, 4 or 5", String(version))
  const keyType = cursor.u16("attestationKeyType")
  if (keyType !== ecdsaP256)
    throw cursor.fault("attestationKeyType", "2 (ECDSA P-256)", String(keyType))
  const teeType = cursor.u32("teeType")
  cursor.bytes(4, "reserved")
  cursor.expect(intelQe, "qeVendorId")
  cursor.bytes(headerSize - cursor.offset, "userData")
  const body = version === 5 ? readTypedBody(cursor, teeType) : readBody(cursor, version, teeType)
  const signed = bytes.subarray(0, cursor.offset)
  const tail = new Cursor(cursor.bytes(cursor.u32("signature size"), "signature data"), "quote")
  const trailing = cursor.bytes(cursor.remaining, "trailing bytes")
  return { version, body, signed, ...readSignature(tail, version), trailing }
}

function readBody(cursor: Cursor, version: 3 | 4, teeType: number): QuoteBody {
  if (teeType === teeSgx) return { tee: "sgx", report: readSgxReport(cursor.bytes(384, "body")) }
  if (teeType === teeTdx && version === 4)
    return { tee: "tdx", report: readTdReport(cursor.bytes(td10Size, "body"), td10Size) }
  throw cursor.fault(
    "teeType",
    version === 3 ? "0 (SGX)" : "0 (SGX) or 0x81 (TDX)",
    String(teeType),
  )
}

function readTypedBody(cursor: Cursor, teeType: number): QuoteBody {
  const type = cursor.u16("body type")
  const body = cursor.bytes(cursor.u32("body size"), "body")
  if (type === 1 && teeType === teeSgx) return { tee: "sgx", report: readSgxReport(body) }
  if (type === 2 && teeType === teeTdx) return { tee: "tdx", report: readTdReport(body, td10Size) }
  if (type === 3 && teeType === teeTdx) return { tee: "tdx", report: readTdReport(body, td15Size) }
  throw cursor.fault(
    "body type",
    "1 (SGX), 2 or 3 (TDX) as the TEE type says",
    `${type}, TEE type ${teeType}`,
  )
}

function readSignature(cursor: Cursor, version: 3 | 4 | 5) {
  const signature = cursor.bytes(64, "signature")
  const attestationKey = cursor.bytes(64, "attestation key")
  if (version === 3) {
    const rest = readQeData(cursor)
    cursor.end()
    return { signature, attestationKey, ...rest }
  }
  const type = cursor.u16("certification type")
  if (type !== 6) throw cursor.fault("certification type", "6 (QE report)", String(type))
  const inner = new Cursor(cursor.bytes(cursor.u32("certification size"), "QE data"), "quote")
  cursor.end()
  const rest = readQeData(inner)
  inner.end()
  return { signature, attestationKey, ...rest }
}

function readQeData(cursor: Cursor) {
  const qeReport = readSgxReport(cursor.bytes(384, "QE report"))
  const qeReportSignature = cursor.bytes(64, "QE report signature")
  const qeAuthData = cursor.bytes(cursor.u16("QE authentication size"), "QE authentication data")
  const type = cursor.u16("certification data type")
  const data = cursor.bytes(cursor.u32("certification data size"), "certification data")
  return { qeReport, qeReportSignature, qeAuthData, certification: { type, data } }
}
