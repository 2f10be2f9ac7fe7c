import { Cursor, type StructTable } from "../bytes/index.ts"

/** An SGX enclave report (SDM volume 3D, 39.16), as it stands in quotes. Little-endian. */
export const sgxReportTable = [
  ["cpuSvn", 0, 16],
  ["miscSelect", 16, 4],
  ["reserved1", 20, 28],
  ["attributes", 48, 16],
  ["mrEnclave", 64, 32],
  ["reserved2", 96, 32],
  ["mrSigner", 128, 32],
  ["reserved3", 160, 96],
  ["productId", 256, 2],
  ["svn", 258, 2],
  ["reserved4", 260, 60],
  ["reportData", 320, 64],
] as const satisfies StructTable

export interface SgxReport {
  readonly raw: Uint8Array
  readonly cpuSvn: Uint8Array
  readonly miscSelect: number
  /** 16 bytes: flags and XFRM. */
  readonly attributes: Uint8Array
  readonly mrEnclave: Uint8Array
  readonly mrSigner: Uint8Array
  readonly productId: number
  readonly svn: number
  readonly reportData: Uint8Array
}

/** Reserved fields are covered by the signature over `raw`; what later CPUs put there is not ours to refuse. */
export function readSgxReport(raw: Uint8Array): SgxReport {
  const cursor = new Cursor(raw, "sgx report")
  const cpuSvn = cursor.bytes(16, "cpuSvn")
  const miscSelect = cursor.u32("miscSelect")
  cursor.bytes(28, "reserved1")
  const attributes = cursor.bytes(16, "attributes")
  const mrEnclave = cursor.bytes(32, "mrEnclave")
  cursor.bytes(32, "reserved2")
  const mrSigner = cursor.bytes(32, "mrSigner")
  cursor.bytes(96, "reserved3")
  const productId = cursor.u16("productId")
  const svn = cursor.u16("svn")
  cursor.bytes(60, "reserved4")
  const reportData = cursor.bytes(64, "reportData")
  cursor.end()
  return { raw, cpuSvn, miscSelect, attributes, mrEnclave, mrSigner, productId, svn, reportData }
}

/** A TD report body: 584 bytes for TDX 1.0, 648 for TDX 1.5. */
export const tdReportTable = [
  ["teeTcbSvn", 0, 16],
  ["mrSeam", 16, 48],
  ["mrSignerSeam", 64, 48],
  ["seamAttributes", 112, 8],
  ["attributes", 120, 8],
  ["xfam", 128, 8],
  ["mrTd", 136, 48],
  ["mrConfigId", 184, 48],
  ["mrOwner", 232, 48],
  ["mrOwnerConfig", 280, 48],
  ["rtmr0", 328, 48],
  ["rtmr1", 376, 48],
  ["rtmr2", 424, 48],
  ["rtmr3", 472, 48],
  ["reportData", 520, 64],
  ["teeTcbSvn2", 584, 16],
  ["mrServiceTd", 600, 48],
] as const satisfies StructTable

export const td10Size = 584
export const td15Size = 648

export interface TdReport {
  readonly raw: Uint8Array
  readonly teeTcbSvn: Uint8Array
  readonly mrSeam: Uint8Array
  readonly mrSignerSeam: Uint8Array
  readonly seamAttributes: Uint8Array
  readonly attributes: Uint8Array
  readonly xfam: Uint8Array
  readonly mrTd: Uint8Array
  readonly mrConfigId: Uint8Array
  readonly mrOwner: Uint8Array
  readonly mrOwnerConfig: Uint8Array
  readonly rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  readonly reportData: Uint8Array
  /** TDX 1.5: the module's versions now, where `teeTcbSvn` are those at the guest's launch. */
  readonly teeTcbSvn2: Uint8Array | undefined
  readonly mrServiceTd: Uint8Array | undefined
}

export function readTdReport(raw: Uint8Array, size: typeof td10Size | typeof td15Size): TdReport {
  const cursor = new Cursor(raw, "td report")
  if (raw.length !== size) throw cursor.fault("size", String(size), String(raw.length))
  const take = (width: number, field: string) => cursor.bytes(width, field)
  const report = {
    raw,
    teeTcbSvn: take(16, "teeTcbSvn"),
    mrSeam: take(48, "mrSeam"),
    mrSignerSeam: take(48, "mrSignerSeam"),
    seamAttributes: take(8, "seamAttributes"),
    attributes: take(8, "attributes"),
    xfam: take(8, "xfam"),
    mrTd: take(48, "mrTd"),
    mrConfigId: take(48, "mrConfigId"),
    mrOwner: take(48, "mrOwner"),
    mrOwnerConfig: take(48, "mrOwnerConfig"),
    rtmrs: [take(48, "rtmr0"), take(48, "rtmr1"), take(48, "rtmr2"), take(48, "rtmr3")] as const,
    reportData: take(64, "reportData"),
  }
  const teeTcbSvn2 = size === td15Size ? take(16, "teeTcbSvn2") : undefined
  const mrServiceTd = size === td15Size ? take(48, "mrServiceTd") : undefined
  cursor.end()
  return { ...report, teeTcbSvn2, mrServiceTd }
}

/** Bit 1 of the first attribute byte: the enclave's memory can be read and changed from outside. */
export function isSgxDebug(attributes: Uint8Array): boolean {
  return ((attributes[0] ?? 0) & 0x02) !== 0
}

/** The TUD group, bits 0 to 7: any of them set means that the guest is not protected. */
export function isTdDebug(attributes: Uint8Array): boolean {
  return attributes[0] !== 0
}
