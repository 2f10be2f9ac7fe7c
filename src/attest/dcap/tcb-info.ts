import { z } from "zod"
import { CofferError } from "../../errors.ts"

/** Intel's TCB info (versions 2 and 3) and enclave identity (version 2), after their signature was verified. */

const time = z.iso.datetime().transform((text) => Math.floor(Date.parse(text) / 1000))
const svn = z.number().int().min(0).max(255)
const hex = (size: number) =>
  z
    .string()
    .regex(/^[0-9a-fA-F]*$/)
    .length(size * 2)
    .transform((text) => text.toLowerCase())
const advisoryIDs = z.array(z.string()).default([])

const baseStatus = z.enum([
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
])
const plainStatus = z.enum(["UpToDate", "OutOfDate", "Revoked"])

export type BaseStatus = z.infer<typeof baseStatus>
export type PlainStatus = z.infer<typeof plainStatus>

/** One level of a platform's TCB: it is reached when every SVN is at least this. */
export interface TcbLevel {
  readonly sgx: readonly number[]
  readonly tdx: readonly number[] | undefined
  readonly pceSvn: number
  readonly date: number
  readonly status: BaseStatus
  readonly advisories: readonly string[]
}

export interface SvnLevel {
  readonly svn: number
  readonly date: number
  readonly status: PlainStatus
  readonly advisories: readonly string[]
}

export interface TdxModule {
  /** Hex: 48 and 8 bytes. */
  readonly mrSigner: string
  readonly attributes: string
}

export interface TdxModuleIdentity extends TdxModule {
  /** `TDX_01`, upper case. */
  readonly id: string
  readonly levels: readonly SvnLevel[]
}

interface Dated {
  readonly issueDate: number
  readonly nextUpdate: number
  readonly evaluationNumber: number
}

export interface TcbInfo extends Dated {
  readonly tee: "sgx" | "tdx"
  readonly fmspc: string
  readonly pceId: string
  readonly levels: readonly TcbLevel[]
  readonly tdxModule: TdxModule | undefined
  readonly tdxModuleIdentities: readonly TdxModuleIdentity[]
}

export interface EnclaveIdentity extends Dated {
  readonly id: "QE" | "TD_QE"
  readonly miscSelect: string
  readonly miscSelectMask: string
  readonly attributes: string
  readonly attributesMask: string
  readonly mrSigner: string
  readonly productId: number
  readonly levels: readonly SvnLevel[]
}

const component = z.object({ svn })
const tcb3 = z.object({
  sgxtcbcomponents: z.array(component).length(16),
  tdxtcbcomponents: z.array(component).length(16).optional(),
  pcesvn: z.number().int().min(0).max(65535),
})
const tcb2Names = Array.from(
  { length: 16 },
  (_, i) => `sgxtcbcomp${String(i + 1).padStart(2, "0")}svn`,
)
const tcb2 = z
  .object({ pcesvn: z.number().int().min(0).max(65535) })
  .catchall(z.unknown())
  .transform((value, context) => {
    const sgx = tcb2Names.map((name) => svn.safeParse(value[name]).data)
    if (sgx.every((item) => item !== undefined)) return { sgx, pceSvn: value.pcesvn }
    context.addIssue({ code: "custom", message: "wanted sixteen SVNs" })
    return z.NEVER
  })

const levelRest = { tcbDate: time, tcbStatus: baseStatus, advisoryIDs }
const module = z.object({ mrsigner: hex(48), attributes: hex(8), attributesMask: hex(8) })
const svnLevel = z
  .object({
    tcb: z.object({ isvsvn: z.number().int().min(0).max(65535) }),
    tcbDate: time,
    tcbStatus: plainStatus,
    advisoryIDs,
  })
  .transform((level) => ({
    svn: level.tcb.isvsvn,
    date: level.tcbDate,
    status: level.tcbStatus,
    advisories: level.advisoryIDs,
  }))
const moduleIdentity = module.extend({ id: z.string(), tcbLevels: z.array(svnLevel).min(1) })

const tcbInfoRest = {
  issueDate: time,
  nextUpdate: time,
  fmspc: hex(6),
  pceId: hex(2),
  tcbType: z.literal(0),
  tcbEvaluationDataNumber: z.number().int().min(0),
}

const tcbInfo3 = z.object({
  id: z.enum(["SGX", "TDX"]),
  version: z.literal(3),
  ...tcbInfoRest,
  tdxModule: module.optional(),
  tdxModuleIdentities: z.array(moduleIdentity).default([]),
  tcbLevels: z.array(z.object({ tcb: tcb3, ...levelRest })).min(1),
})

const tcbInfo2 = z.object({
  version: z.literal(2),
  ...tcbInfoRest,
  tcbLevels: z.array(z.object({ tcb: tcb2, ...levelRest })).min(1),
})

const identity2 = z.object({
  id: z.enum(["QE", "TD_QE"]),
  version: z.literal(2),
  issueDate: time,
  nextUpdate: time,
  tcbEvaluationDataNumber: z.number().int().min(0),
  miscselect: hex(4),
  miscselectMask: hex(4),
  attributes: hex(16),
  attributesMask: hex(16),
  mrsigner: hex(32),
  isvprodid: z.number().int().min(0).max(65535),
  tcbLevels: z.array(svnLevel).min(1),
})

function read<S extends z.ZodType>(schema: S, text: string, where: string): z.output<S> {
  const result = schema.safeParse(JSON.parse(text))
  if (result.success) return result.data
  const [issue] = result.error.issues
  const field = [where, ...(issue?.path ?? [])].map(String).join(".")
  throw new CofferError("integrity", `${field}: ${issue?.message ?? "cannot be read"}`, {
    facts: { field },
  })
}

function levelRestOf(level: z.output<z.ZodObject<typeof levelRest>>) {
  return { date: level.tcbDate, status: level.tcbStatus, advisories: level.advisoryIDs }
}

/** `text` is JSON whose signature holds. */
export function parseTcbInfo(text: string): TcbInfo {
  const info = read(z.discriminatedUnion("version", [tcbInfo2, tcbInfo3]), text, "tcbInfo")
  const common = {
    issueDate: info.issueDate,
    nextUpdate: info.nextUpdate,
    evaluationNumber: info.tcbEvaluationDataNumber,
    fmspc: info.fmspc,
    pceId: info.pceId,
  }
  if (info.version === 2) {
    const levels = info.tcbLevels.map((level) => ({
      ...level.tcb,
      tdx: undefined,
      ...levelRestOf(level),
    }))
    return { ...common, tee: "sgx", levels, tdxModule: undefined, tdxModuleIdentities: [] }
  }
  return {
    ...common,
    tee: info.id === "TDX" ? "tdx" : "sgx",
    levels: info.tcbLevels.map((level) => ({
      sgx: level.tcb.sgxtcbcomponents.map((item) => item.svn),
      tdx: level.tcb.tdxtcbcomponents?.map((item) => item.svn),
      pceSvn: level.tcb.pcesvn,
      ...levelRestOf(level),
    })),
    tdxModule:
      info.tdxModule === undefined
        ? undefined
        : { mrSigner: info.tdxModule.mrsigner, attributes: info.tdxModule.attributes },
    tdxModuleIdentities: info.tdxModuleIdentities.map((item) => ({
      id: item.id.toUpperCase(),
      mrSigner: item.mrsigner,
      attributes: item.attributes,
      levels: item.tcbLevels,
    })),
  }
}

/** `text` is JSON whose signature holds. */
export function parseEnclaveIdentity(text: string): EnclaveIdentity {
  const item = read(identity2, text, "enclaveIdentity")
  return {
    id: item.id,
    issueDate: item.issueDate,
    nextUpdate: item.nextUpdate,
    evaluationNumber: item.tcbEvaluationDataNumber,
    miscSelect: item.miscselect,
    miscSelectMask: item.miscselectMask,
    attributes: item.attributes,
    attributesMask: item.attributesMask,
    mrSigner: item.mrsigner,
    productId: item.isvprodid,
    levels: item.tcbLevels,
  }
}
