import { type KeyObject, sign } from "node:crypto"
import {
  Cursor,
  concatBytes,
  fromHex,
  isZero,
  type StructTable,
  structSize,
  toHex,
} from "../../bytes/index.ts"
import { type Label, labelBytes } from "../../crypto/index.ts"
import type { EnclaveClaims } from "../claims.ts"

/** The enclave report, spec/evidence.md section 3. Little-endian. */
export const reportTable = [
  ["version", 0, 2],
  ["flags", 2, 2],
  ["runtimeVersion", 4, 6],
  ["productId", 10, 2],
  ["svn", 12, 2],
  ["reserved", 14, 2],
  ["mrEnclave", 16, 32],
  ["mrSigner", 48, 32],
  ["reportData", 80, 64],
] as const satisfies StructTable

export const reportSize = structSize(reportTable)

const flagDebug = 1
const flagEngineTrusted = 2

export interface EnclaveReport {
  readonly enclave: EnclaveClaims
  /** 64 bytes. */
  readonly reportData: Uint8Array
}

/** Which reports a signature covers: those that release keys, and those that a service asked for and that release nothing. */
export type ReportKind = "release" | "service"

const kindLabels = {
  release: "releaseReport",
  service: "serviceReport",
} as const satisfies Record<ReportKind, Label>

export function encodeReport(report: EnclaveReport): Uint8Array {
  const { enclave, reportData } = report
  const bytes = new Uint8Array(reportSize)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 1, true)
  view.setUint16(
    2,
    (enclave.debug ? flagDebug : 0) | (enclave.engineTrusted ? flagEngineTrusted : 0),
    true,
  )
  enclave.runtimeVersion.forEach((part, i) => view.setUint16(4 + 2 * i, part, true))
  view.setUint16(10, enclave.productId, true)
  view.setUint16(12, enclave.svn, true)
  bytes.set(hash32(enclave.mrEnclave), 16)
  if (enclave.mrSigner !== undefined) bytes.set(hash32(enclave.mrSigner), 48)
  if (reportData.length !== 64) throw new TypeError("report data has 64 bytes")
  bytes.set(reportData, 80)
  return bytes
}

function hash32(hex: string): Uint8Array {
  const bytes = fromHex(hex)
  if (bytes?.length !== 32) throw new TypeError("a measurement has 32 bytes")
  return bytes
}

export function decodeReport(bytes: Uint8Array): EnclaveReport {
  const cursor = new Cursor(bytes, "enclave report")
  const version = cursor.u16("version")
  if (version !== 1) throw cursor.fault("version", "1", String(version))
  const flags = cursor.u16("flags")
  if ((flags & ~(flagDebug | flagEngineTrusted)) !== 0)
    throw cursor.fault("flags", "bits 0 and 1 only", String(flags))
  const runtimeVersion = [
    cursor.u16("runtimeVersion"),
    cursor.u16("runtimeVersion"),
    cursor.u16("runtimeVersion"),
  ] as const
  const productId = cursor.u16("productId")
  const svn = cursor.u16("svn")
  cursor.zeros(2, "reserved")
  const mrEnclave = toHex(cursor.bytes(32, "mrEnclave"))
  const signer = cursor.bytes(32, "mrSigner")
  const reportData = cursor.bytes(64, "reportData").slice()
  cursor.end()
  return {
    enclave: {
      mrEnclave,
      mrSigner: isZero(signer) ? undefined : toHex(signer),
      productId,
      svn,
      debug: (flags & flagDebug) !== 0,
      engineTrusted: (flags & flagEngineTrusted) !== 0,
      runtimeVersion,
    },
    reportData,
  }
}

/** What the node key signs: the kind's label, then the report. */
export function reportMessage(kind: ReportKind, report: Uint8Array): Uint8Array {
  return concatBytes(labelBytes(kindLabels[kind]), report)
}

/** Ed25519 by the node agent's key: 64 bytes. */
export function signReport(kind: ReportKind, report: EnclaveReport, nodeKey: KeyObject) {
  const body = encodeReport(report)
  return { body, signature: new Uint8Array(sign(null, reportMessage(kind, body), nodeKey)) }
}
