import { Cursor, type StructTable, structSize } from "../../bytes/index.ts"
import type { SnpProduct, SnpTcb } from "../claims.ts"

/** ATTESTATION_REPORT (SEV-SNP firmware ABI, table 23), versions 2 to 5. Little-endian. */
export const snpReportTable = [
  ["version", 0x000, 4],
  ["guestSvn", 0x004, 4],
  ["policy", 0x008, 8],
  ["familyId", 0x010, 16],
  ["imageId", 0x020, 16],
  ["vmpl", 0x030, 4],
  ["signatureAlgorithm", 0x034, 4],
  ["currentTcb", 0x038, 8],
  ["platformInfo", 0x040, 8],
  ["keyInfo", 0x048, 4],
  ["reserved1", 0x04c, 4],
  ["reportData", 0x050, 64],
  ["measurement", 0x090, 48],
  ["hostData", 0x0c0, 32],
  ["idKeyDigest", 0x0e0, 48],
  ["authorKeyDigest", 0x110, 48],
  ["reportId", 0x140, 32],
  ["reportIdMa", 0x160, 32],
  ["reportedTcb", 0x180, 8],
  ["cpuid", 0x188, 3],
  ["reserved2", 0x18b, 21],
  ["chipId", 0x1a0, 64],
  ["committedTcb", 0x1e0, 8],
  ["versions", 0x1e8, 8],
  ["launchTcb", 0x1f0, 8],
  ["mitigations", 0x1f8, 16],
  ["reserved3", 0x208, 152],
  ["signature", 0x2a0, 512],
] as const satisfies StructTable

export const snpReportSize = structSize(snpReportTable)
const signedSize = 0x2a0
const componentSize = 72
const p384Size = 48

export interface SnpReport {
  readonly version: number
  readonly guestSvn: number
  readonly policy: bigint
  readonly familyId: Uint8Array
  readonly imageId: Uint8Array
  readonly vmpl: number
  readonly currentTcb: Uint8Array
  readonly platformInfo: bigint
  readonly keyInfo: number
  readonly reportData: Uint8Array
  readonly measurement: Uint8Array
  readonly hostData: Uint8Array
  readonly idKeyDigest: Uint8Array
  readonly authorKeyDigest: Uint8Array
  readonly reportId: Uint8Array
  readonly reportedTcb: Uint8Array
  /** Family, model and stepping; undefined before version 3. */
  readonly cpuid: readonly [family: number, model: number, stepping: number] | undefined
  readonly chipId: Uint8Array
  readonly committedTcb: Uint8Array
  readonly launchTcb: Uint8Array
  /** What the VCEK or VLEK signed. */
  readonly signed: Uint8Array
  /** r and s, big-endian, 48 bytes each. */
  readonly signature: Uint8Array
}

export function parseSnpReport(bytes: Uint8Array): SnpReport {
  const cursor = new Cursor(bytes, "snp report")
  if (bytes.length !== snpReportSize)
    throw cursor.fault("size", String(snpReportSize), String(bytes.length))
  const version = cursor.u32("version")
  if (version < 2 || version > 5) throw cursor.fault("version", "2 to 5", String(version))
  const guestSvn = cursor.u32("guestSvn")
  const policy = cursor.u64("policy")
  const familyId = cursor.bytes(16, "familyId")
  const imageId = cursor.bytes(16, "imageId")
  const vmpl = cursor.u32("vmpl")
  const algorithm = cursor.u32("signatureAlgorithm")
  if (algorithm !== 1)
    throw cursor.fault("signatureAlgorithm", "1 (ECDSA P-384, SHA-384)", String(algorithm))
  const currentTcb = cursor.bytes(8, "currentTcb")
  const platformInfo = cursor.u64("platformInfo")
  const keyInfo = cursor.u32("keyInfo")
  cursor.bytes(4, "reserved1")
  const reportData = cursor.bytes(64, "reportData")
  const measurement = cursor.bytes(48, "measurement")
  const hostData = cursor.bytes(32, "hostData")
  const idKeyDigest = cursor.bytes(48, "idKeyDigest")
  const authorKeyDigest = cursor.bytes(48, "authorKeyDigest")
  const reportId = cursor.bytes(32, "reportId")
  cursor.bytes(32, "reportIdMa")
  const reportedTcb = cursor.bytes(8, "reportedTcb")
  const family = cursor.u8("cpuid")
  const cpuid = [family, cursor.u8("cpuid"), cursor.u8("cpuid")] as const
  cursor.bytes(21, "reserved2")
  const chipId = cursor.bytes(64, "chipId")
  const committedTcb = cursor.bytes(8, "committedTcb")
  cursor.bytes(8, "versions")
  const launchTcb = cursor.bytes(8, "launchTcb")
  cursor.bytes(16 + 152, "reserved3")
  const signature = readSignature(cursor)
  return {
    version,
    guestSvn,
    policy,
    familyId,
    imageId,
    vmpl,
    currentTcb,
    platformInfo,
    keyInfo,
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportedTcb,
    cpuid: version >= 3 ? cpuid : undefined,
    chipId,
    committedTcb,
    launchTcb,
    signed: bytes.subarray(0, signedSize),
    signature,
  }
}

// Nothing signs the signature's field: so all of it that is not r or s must be zero.
function readSignature(cursor: Cursor): Uint8Array {
  const signature = new Uint8Array(2 * p384Size)
  for (const [i, field] of ["signature r", "signature s"].entries()) {
    signature.set(cursor.bytes(p384Size, field).toReversed(), i * p384Size)
    cursor.zeros(componentSize - p384Size, field)
  }
  cursor.zeros(cursor.remaining, "signature padding")
  return signature
}

/** The parts of a TCB_VERSION: Turin has another order, and one part more. */
export function tcbOf(bytes: Uint8Array, product: SnpProduct): SnpTcb {
  const at = (i: number) => bytes[i] ?? 0
  if (product === "Turin")
    return { fmc: at(0), bootloader: at(1), tee: at(2), snp: at(3), microcode: at(7) }
  return { bootloader: at(0), tee: at(1), snp: at(6), microcode: at(7) }
}

/** Which product a CPU's family and model belong to; Genoa's key chain also serves Bergamo and Siena. */
export function productOfCpuid(
  cpuid: readonly [family: number, model: number, stepping: number],
): SnpProduct | undefined {
  const [family, model] = cpuid
  if (family === 0x19 && model <= 0x0f) return "Milan"
  if (family === 0x19 && ((model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf)))
    return "Genoa"
  if (family === 0x1a && model <= 0x1f) return "Turin"
  return undefined
}
