import { z } from "zod"
import { Cursor, concatBytes, fromHex, toHex, utf8 } from "../../bytes/index.ts"
import { formatPem, parsePem } from "../../der/index.ts"
import { CofferError } from "../../errors.ts"

/** Evidence of an Azure confidential VM: the paravisor (HCL) has the hardware's report, its virtual TPM the rest. */
export interface AzureEvidence {
  /** From version 2 on the guest puts the nonce into the runtime data too. */
  readonly version: 0 | 1 | 2
  /** Of two programs that write it the one that leaves base64's padding out: it says version 1, with the nonce or without. */
  readonly unpadded: boolean
  readonly hcl: HclReport
  /** TPMS_ATTEST and a bare RSASSA signature over it. */
  readonly message: Uint8Array
  readonly signature: Uint8Array
  /** The SHA-256 bank, by index. */
  readonly pcrs: readonly Uint8Array[]
  /** DER certificates that came along (the VCEK). */
  readonly certificates: readonly Uint8Array[]
  /** On TDX the quote comes from the host's quoting enclave, beside the HCL report. */
  readonly tdQuote: Uint8Array | undefined
}

export interface HclReport {
  readonly tee: "sev-snp" | "tdx"
  /** 1184 bytes: the SNP report, or a TDREPORT with padding. */
  readonly hardwareReport: Uint8Array
  /** JSON, exactly as it was hashed into the hardware's report data. */
  readonly runtimeData: Uint8Array
  /** The virtual TPM's attestation key, as JWK. */
  readonly akModulus: string
  readonly akExponent: string
  /** What the guest put into the runtime data before the report was made: 64 bytes, zeros when nothing. */
  readonly userData: Uint8Array
}

const hclHeaderSize = 32
const hardwareSize = 1184
const runtimeHeaderSize = 20
const hclSize = 2600

const runtimeSchema = z.object({
  keys: z.array(
    z.object({
      kid: z.string(),
      kty: z.string(),
      e: z.string().optional(),
      n: z.string().optional(),
    }),
  ),
  "vm-configuration": z.record(z.string(), z.unknown()),
  "user-data": z.string(),
})

/** Only the hardware report and the runtime data are signed, so every other byte must be what it has to be. */
export function parseHclReport(bytes: Uint8Array): HclReport {
  const cursor = new Cursor(bytes, "hcl report")
  if (bytes.length !== hclSize) throw cursor.fault("size", String(hclSize), String(bytes.length))
  cursor.expect(utf8("HCLA"), "signature")
  const version = cursor.u32("version")
  const size = cursor.u32("size")
  const request = cursor.u32("request type")
  if (request !== 2) throw cursor.fault("request type", "2 (report)", String(request))
  cursor.zeros(hclHeaderSize - cursor.offset, "status and reserved")
  const hardwareReport = cursor.bytes(hardwareSize, "hardware report")
  const dataSize = cursor.u32("data size")
  const dataVersion = cursor.u32("data version")
  const reportType = cursor.u32("report type")
  const hashType = cursor.u32("hash type")
  const runtimeSize = cursor.u32("runtime data size")
  const wanted = hclHeaderSize + hardwareSize + runtimeHeaderSize + runtimeSize
  // Version 2 counts the header of the runtime data apart.
  if (size !== wanted && size !== runtimeSize) throw cursor.fault("size", `${wanted}`, String(size))
  if (dataVersion !== 1 || hashType !== 1 || dataSize !== runtimeHeaderSize + runtimeSize)
    throw cursor.fault(
      "runtime data",
      "version 1, SHA-256, sizes that agree",
      `${dataVersion}, ${hashType}, ${dataSize}`,
    )
  if (reportType !== 2 && reportType !== 4)
    throw cursor.fault("report type", "2 (SNP) or 4 (TDX)", String(reportType))
  const runtimeData = cursor.bytes(runtimeSize, "runtime data")
  cursor.zeros(cursor.remaining, "padding")
  const { n, e, userData, persistence } = readRuntimeData(runtimeData)
  // Nothing signs the header. Its second version came with what the runtime data, which is signed, says of persistence.
  const wantedVersion = persistence ? 2 : 1
  if (version !== wantedVersion)
    throw cursor.fault("version", String(wantedVersion), String(version))
  return {
    tee: reportType === 2 ? "sev-snp" : "tdx",
    hardwareReport,
    runtimeData,
    akModulus: n,
    akExponent: e,
    userData,
  }
}

function readRuntimeData(runtimeData: Uint8Array) {
  const where = "hcl runtime data"
  const result = runtimeSchema.safeParse(json(Buffer.from(runtimeData).toString("utf8"), where))
  if (!result.success) throw fault(where, "keys, configuration and user data", "something else")
  const { keys, "vm-configuration": configuration, "user-data": hex } = result.data
  const [key, ...more] = keys.filter((item) => item.kid === "HCLAkPub")
  if (more.length > 0 || key?.kty !== "RSA" || key.n === undefined || key.e === undefined)
    throw fault(where, "one RSA key HCLAkPub", "not one")
  const userData = fromHex(hex)
  if (userData?.length !== 64) throw fault(where, "user data of 64 bytes", hex.slice(0, 16))
  const names = Object.keys(configuration)
  const persistence = names.includes("tpm-persisted") || names.includes("root-cert-thumbprint")
  return { n: key.n, e: key.e, userData, persistence }
}

function fault(where: string, want: string, have: string): CofferError {
  return new CofferError("integrity", `${where}: wanted ${want}, found ${have}`)
}

function json(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CofferError("integrity", `${where}: wanted JSON, found something else`, { cause })
  }
}

const blob = z.union([z.string(), z.array(z.number().int().min(0).max(255))])
const tpmQuote = z.strictObject({ message: blob, signature: blob, pcrs: z.array(blob).length(24) })

const schema = z.union([
  z.strictObject({
    version: z.union([z.literal(1), z.literal(2)]).optional(),
    hcl_report: blob,
    tpm_quote: tpmQuote,
    vcek: z.string().optional(),
    td_quote: blob.optional(),
  }),
  // The oldest form.
  z.strictObject({ report: blob, quote: tpmQuote, vcek: z.string() }),
])

// Bytes are arrays of numbers (the oldest form), lower-case hex or base64url, padded or not: each text must be a form that
// we write again, because nothing signs the text.
function bytesOf(value: z.infer<typeof blob>, where: string): Uint8Array {
  if (typeof value !== "string") return new Uint8Array(value)
  const hex = fromHex(value)
  if (hex !== undefined && toHex(hex) === value) return hex
  const bytes = Buffer.from(value, "base64url")
  const text = bytes.toString("base64url")
  const padded = text.padEnd(Math.ceil(text.length / 4) * 4, "=")
  if (value === text || value === padded) return new Uint8Array(bytes)
  throw fault(where, "bytes in hex or base64url", "something else")
}

function certificatesOf(vcek: string | undefined): readonly Uint8Array[] {
  if (vcek === undefined) return []
  if (!vcek.includes("-----BEGIN")) return [bytesOf(vcek, "vcek")]
  const blocks = parsePem(vcek).map((block) => block.bytes)
  const form = blocks.map((block) => formatPem("CERTIFICATE", block)).join("")
  if (form !== vcek && form !== `${vcek}\n`)
    throw fault("vcek", "a certificate as canonical PEM", "another form of it")
  return blocks
}

/** Whether `text` looks like this kind of evidence at all. */
export function isAzureEvidence(text: string): boolean {
  return (
    /"hcl_report"/.test(text) || (/"report"\s*:\s*\[/.test(text) && /"quote"\s*:\s*\{/.test(text))
  )
}

/** The JSON that Azure's attesters write. The text must be its own compact or indented form: nothing signs its spaces. */
export function parseAzureEvidence(text: string): AzureEvidence {
  const trimmed = text.replace(/^\n/, "").replace(/\n$/, "")
  const value = json(trimmed, "azure evidence")
  const forms = [JSON.stringify(value), JSON.stringify(value, null, 2)]
  if (!forms.includes(trimmed))
    throw fault("azure evidence", "JSON in compact form or indented by two", "another layout")
  const result = schema.safeParse(value)
  if (!result.success) {
    const [issue] = result.error.issues
    throw fault(
      ["azure evidence", ...(issue?.path ?? [])].map(String).join("."),
      "what its schema says",
      issue?.message ?? "something else",
    )
  }
  const data = result.data
  const quote = "quote" in data ? data.quote : data.tpm_quote
  const report = "quote" in data ? data.report : data.hcl_report
  const tdQuote = "quote" in data ? undefined : data.td_quote
  return {
    version: "quote" in data ? 0 : (data.version ?? 0),
    unpadded: typeof report === "string" && report.length % 4 !== 0,
    hcl: parseHclReport(bytesOf(report, "hcl_report")),
    message: bytesOf(quote.message, "message"),
    signature: bytesOf(quote.signature, "signature"),
    pcrs: quote.pcrs.map((pcr) => bytesOf(pcr, "pcrs")),
    certificates: certificatesOf(data.vcek),
    tdQuote: tdQuote === undefined ? undefined : bytesOf(tdQuote, "td_quote"),
  }
}

/** A bare RSASSA-SHA-256 signature as the TPMT_SIGNATURE that it was. */
export function tpmtSignature(signature: Uint8Array): Uint8Array {
  const size = new Uint8Array(2)
  new DataView(size.buffer).setUint16(0, signature.length)
  return concatBytes(new Uint8Array([0x00, 0x14, 0x00, 0x0b]), size, signature)
}
