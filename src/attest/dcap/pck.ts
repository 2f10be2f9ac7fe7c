import { toHex } from "../../bytes/index.ts"
import { type Certificate, DerReader, tag } from "../../der/index.ts"
import type { CertificationData } from "../../sgx/index.ts"
import { type Checks, refuse } from "../checks.ts"

/** What Intel wrote about the machine into its PCK certificate (extension 1.2.840.113741.1.13.1). */
export interface PckExtension {
  /** The sixteen SVNs of the SGX TCB. */
  readonly components: readonly number[]
  readonly pceSvn: number
  /** Hex, 16 bytes each. */
  readonly cpuSvn: string
  readonly ppid: string
  /** Lower-case hex: 2 and 6 bytes. */
  readonly pceId: string
  readonly fmspc: string
}

const sgxOid = "1.2.840.113741.1.13.1"

export function pckExtensionOf(certificate: Certificate): PckExtension {
  const extension = certificate.extensions.get(sgxOid)
  if (extension === undefined)
    throw refuse("pck-extension", "pck certificate: wanted Intel's SGX extension, found none")
  const outer = new DerReader(extension.value, "pck extension")
  const list = outer.inside(tag.sequence, "list")
  outer.end()
  const found: { ppid?: string; fmspc?: string; pceId?: string; tcb?: ReturnType<typeof readTcb> } =
    {}
  while (list.more) {
    const item = list.inside(tag.sequence, "item")
    const oid = item.oid("id")
    if (oid === `${sgxOid}.1`) found.ppid = toHex(sized(item, 16, "ppid"))
    else if (oid === `${sgxOid}.2`) found.tcb = readTcb(item)
    else if (oid === `${sgxOid}.3`) found.pceId = toHex(sized(item, 2, "pceid"))
    else if (oid === `${sgxOid}.4`) found.fmspc = toHex(sized(item, 6, "fmspc"))
    else item.any("value")
    item.end()
  }
  const { ppid, fmspc, pceId, tcb } = found
  if (ppid === undefined || fmspc === undefined || pceId === undefined || tcb === undefined)
    throw refuse("pck-extension", "pck extension: wanted PPID, TCB, PCEID and FMSPC, found not all")
  return { ...tcb, ppid, pceId, fmspc }
}

function sized(item: DerReader, size: number, field: string): Uint8Array {
  const value = item.octets(field)
  if (value.length !== size) throw item.fault(field, `${size} bytes`, `${value.length}`)
  return value
}

function readTcb(item: DerReader) {
  const list = item.inside(tag.sequence, "tcb")
  const components: number[] = []
  for (let i = 1; i <= 16; i += 1) components.push(component(list, i))
  const pceSvn = component(list, 17)
  const pair = list.inside(tag.sequence, "cpusvn")
  const oid = pair.oid("id")
  if (oid !== `${sgxOid}.2.18`) throw pair.fault("id", "the CPUSVN", oid)
  const cpuSvn = toHex(sized(pair, 16, "cpusvn"))
  pair.end()
  list.end()
  return { components, pceSvn, cpuSvn }
}

function component(list: DerReader, index: number): number {
  const pair = list.inside(tag.sequence, "component")
  const oid = pair.oid("id")
  if (oid !== `${sgxOid}.2.${index}`) throw pair.fault("id", `component ${index}`, oid)
  const value = pair.small("svn")
  pair.end()
  return value
}

/** Sizes of the platform id in certification data: plain, encrypted with RSA-2048, with RSA-3072. */
const ppidSizes: Readonly<Record<number, number>> = { 1: 16, 2: 256, 3: 384 }

/**
 * Certification data that names the PCK instead of carrying it: no signature covers it, so it must say what the PCK
 * certificate says. An encrypted PPID cannot be compared by anybody but Intel.
 */
export function checkCertificationData(
  { type, data }: CertificationData,
  pck: PckExtension,
  checks: Checks,
): void {
  if (type === 5) return
  const size = ppidSizes[type]
  // PCEID is missing in what some quoting libraries write.
  if (size === undefined || (data.length !== size + 18 && data.length !== size + 20))
    throw refuse(
      "certification-data",
      `quote: wanted certification data of type 1, 2, 3 or 5, found type ${type} with ${data.length} bytes`,
    )
  const svn = new Uint8Array(2)
  new DataView(svn.buffer).setUint16(0, pck.pceSvn, true)
  const wanted = `${pck.cpuSvn}${toHex(svn)}${pck.pceId}`
  const found = toHex(data.subarray(size))
  const ppid = toHex(data.subarray(0, size))
  checks.require(
    wanted.startsWith(found) && (type !== 1 || ppid === pck.ppid),
    "certification-data",
    `quote: wanted the PPID, CPUSVN, PCESVN and PCEID of the PCK certificate, found ${ppid.slice(0, 32)} ${found}`,
  )
  if (type !== 1) checks.passed("certification-data-ppid", "encrypted: not compared")
}
