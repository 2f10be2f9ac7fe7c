import { toHex } from "../../bytes/index.ts"
import { type Certificate, DerReader, tag } from "../../der/index.ts"
import { refuse } from "../checks.ts"
import { type SnpProduct, type SnpTcb, snpProducts } from "../claims.ts"

/** What AMD wrote into a VCEK or VLEK (KDS specification, table 8; 1.3.6.1.4.1.3704.1). */
export interface VekExtensions {
  readonly product: SnpProduct
  readonly tcb: SnpTcb
  /** VCEK only: the chip, hex; 64 bytes, 8 on Turin. */
  readonly hwid: string | undefined
}

const arc = "1.3.6.1.4.1.3704.1"
const parts = {
  product: `${arc}.2`,
  bootloader: `${arc}.3.1`,
  tee: `${arc}.3.2`,
  snp: `${arc}.3.3`,
  microcode: `${arc}.3.8`,
  fmc: `${arc}.3.9`,
  hwid: `${arc}.4`,
} as const

export function vekExtensionsOf(vek: Certificate): VekExtensions {
  const name = productName(vek)
  const product = snpProducts.find((item) => name === item || name.startsWith(`${item}-`))
  if (product === undefined)
    throw refuse("vek-product", `vek: wanted one of ${snpProducts.join(", ")}, found ${name}`)
  const tcb = {
    bootloader: svn(vek, "bootloader"),
    tee: svn(vek, "tee"),
    snp: svn(vek, "snp"),
    microcode: svn(vek, "microcode"),
  }
  const whole = product === "Turin" ? { ...tcb, fmc: svn(vek, "fmc") } : tcb
  return { product, tcb: whole, hwid: hwidOf(vek, product) }
}

function valueOf(vek: Certificate, part: keyof typeof parts): Uint8Array | undefined {
  return vek.extensions.get(parts[part])?.value
}

function productName(vek: Certificate): string {
  const value = valueOf(vek, "product")
  if (value === undefined) throw refuse("vek-product", "vek: wanted a product name, found none")
  const reader = new DerReader(value, "vek product")
  const name = Buffer.from(reader.read(tag.ia5String, "name").content).toString("latin1")
  reader.end()
  return name.replaceAll(/[^ -~]/g, "?")
}

function svn(vek: Certificate, part: keyof typeof parts): number {
  const value = valueOf(vek, part)
  if (value === undefined) throw refuse("vek-tcb", `vek: wanted the SVN of ${part}, found none`)
  const reader = new DerReader(value, `vek ${part}`)
  const number = reader.small("svn")
  reader.end()
  if (number > 255) throw refuse("vek-tcb", `vek: ${part}: wanted at most 255, found ${number}`)
  return number
}

// KDS wrote the bare bytes first, and later an OCTET STRING in the extension's own OCTET STRING: both are in use.
function hwidOf(vek: Certificate, product: SnpProduct): string | undefined {
  const value = valueOf(vek, "hwid")
  if (value === undefined) return undefined
  const size = product === "Turin" ? 8 : 64
  const wrapped = value.length === size + 2 && value[0] === tag.octetString && value[1] === size
  const bytes = wrapped ? value.subarray(2) : value
  if (bytes.length !== size)
    throw refuse("vek-hwid", `vek: wanted a chip id of ${size} bytes, found ${value.length}`)
  return toHex(bytes)
}
