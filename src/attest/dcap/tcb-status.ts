import { toHex } from "../../bytes/index.ts"
import type { TdReport } from "../../sgx/index.ts"
import { refuse } from "../checks.ts"
import type { TcbStatus } from "../claims.ts"
import type { PckExtension } from "./pck.ts"
import type {
  BaseStatus,
  PlainStatus,
  SvnLevel,
  TcbInfo,
  TcbLevel,
  TdxModuleIdentity,
} from "./tcb-info.ts"

/** Intel's rules for the state of a platform, as its Quote Verification Library has them (4.1.2.4.17 and what follows). */

export interface PlatformState {
  readonly status: TcbStatus
  readonly advisories: readonly string[]
  readonly date: number
}

function reaches(have: readonly number[] | Uint8Array, want: readonly number[], from = 0): boolean {
  return want.every((svn, i) => i < from || (have[i] ?? 0) >= svn)
}

function sgxLevels(info: TcbInfo, pck: PckExtension): readonly TcbLevel[] {
  const levels = info.levels.filter(
    (level) => reaches(pck.components, level.sgx) && pck.pceSvn >= level.pceSvn,
  )
  if (levels.length === 0)
    throw refuse("tcb-not-supported", "tcb: wanted a level that the platform reaches, found none")
  return levels
}

/** The first level that an SGX platform reaches, with the quoting enclave's own state. */
export function sgxState(info: TcbInfo, pck: PckExtension, qe: SvnLevel): PlatformState {
  const [level] = sgxLevels(info, pck)
  if (level === undefined) throw new TypeError("there is one at least")
  return merged(withQe(level.status, qe.status), level, [qe])
}

/** The same for TDX: platform, TDX module and quoting enclave, and for TDX 1.5 whether a relaunch would do. */
export function tdxState(
  info: TcbInfo,
  pck: PckExtension,
  report: TdReport,
  qe: SvnLevel,
): PlatformState {
  const levels = sgxLevels(info, pck)
  const [sgxLevel] = levels
  // With a module of version 1 or later its own identity says what index 0 and 1 are worth.
  const from = moduleVersion(report.teeTcbSvn) > 0 ? 2 : 0
  const level = levels.find(
    (item) => item.tdx !== undefined && reaches(report.teeTcbSvn, item.tdx, from),
  )
  if (level === undefined || sgxLevel === undefined)
    throw refuse("tcb-not-supported", "tcb: wanted a level that the TD reaches, found none")
  const module = moduleLevel(info, report)
  const parts = module === undefined ? [qe] : [module, qe]
  const withModule = module === undefined ? level.status : converge(level.status, module.status)
  if (withModule === "Revoked") return merged("Revoked", level, parts)
  const relaunch = relaunchStatus(info, report, {
    sgx: sgxLevel.status,
    tdx: withModule,
    module: module?.status,
    qe: qe.status,
  })
  return merged(relaunch ?? withQe(withModule, qe.status), level, parts)
}

function merged(status: TcbStatus, level: TcbLevel, parts: readonly SvnLevel[]): PlatformState {
  const advisories = new Set([level, ...parts].flatMap((part) => part.advisories))
  return { status, advisories: [...advisories].toSorted(), date: level.date }
}

/** A part that is out of date makes the whole so. */
function converge(platform: BaseStatus, part: PlainStatus): BaseStatus {
  switch (part) {
    case "UpToDate":
      return platform
    case "Revoked":
      return "Revoked"
    case "OutOfDate":
      return outOfDate(platform)
  }
}

function outOfDate(platform: BaseStatus): BaseStatus {
  switch (platform) {
    case "UpToDate":
    case "SWHardeningNeeded":
      return "OutOfDate"
    case "ConfigurationNeeded":
    case "ConfigurationAndSWHardeningNeeded":
      return "OutOfDateConfigurationNeeded"
    case "OutOfDate":
    case "OutOfDateConfigurationNeeded":
    case "Revoked":
      return platform
  }
}

function withQe(platform: BaseStatus, qe: PlainStatus): BaseStatus {
  return converge(platform, qe)
}

function moduleVersion(teeTcbSvn: Uint8Array): number {
  return teeTcbSvn[1] ?? 0
}

/** The identity for a module's version; `undefined` when the TCB info has none. */
export function moduleIdentity(info: TcbInfo, version: number): TdxModuleIdentity | undefined {
  const id = `TDX_${toHex(new Uint8Array([version])).toUpperCase()}`
  return info.tdxModuleIdentities.find((item) => item.id === id)
}

function moduleLevel(info: TcbInfo, report: TdReport): SvnLevel | undefined {
  const version = moduleVersion(report.teeTcbSvn)
  if (version === 0) return undefined
  const svn = report.teeTcbSvn[0] ?? 0
  const level = moduleIdentity(info, version)?.levels.find((item) => svn >= item.svn)
  if (level === undefined)
    throw refuse(
      "tdx-module-not-supported",
      `tdx module: wanted a level for version ${version}, SVN ${svn}, found none`,
    )
  return level
}

interface Parts {
  readonly sgx: BaseStatus
  readonly tdx: BaseStatus
  readonly module: PlainStatus | undefined
  readonly qe: PlainStatus
}

const mendable: readonly BaseStatus[] = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
]
const needsConfiguration: readonly BaseStatus[] = [
  "ConfigurationNeeded",
  "OutOfDateConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
]

// TDX 1.5: the module was updated while the guest ran. The machine is current (teeTcbSvn2), only the guest's launch is not.
function relaunchStatus(info: TcbInfo, report: TdReport, parts: Parts): TcbStatus | undefined {
  const now = report.teeTcbSvn2
  const outdated = parts.tdx === "OutOfDate" || parts.tdx === "OutOfDateConfigurationNeeded"
  if (now === undefined || parts.qe !== "UpToDate" || !mendable.includes(parts.sgx))
    return undefined
  if (!outdated || parts.module !== "OutOfDate" || !isLatest(info, now)) return undefined
  return needsConfiguration.includes(parts.sgx) || needsConfiguration.includes(parts.tdx)
    ? "TDRelaunchAdvisedConfigurationNeeded"
    : "TDRelaunchAdvised"
}

function isLatest(info: TcbInfo, now: Uint8Array): boolean {
  const latest = info.levels[0]?.tdx
  if (latest === undefined) return false
  const version = moduleVersion(now)
  const identity = moduleIdentity(info, version)
  if (version > 0 && identity === undefined)
    throw refuse(
      "tdx-module-mismatch",
      `tdx module: wanted an identity for version ${version}, found none`,
    )
  const least = version === 0 ? latest[0] : identity?.levels[0]?.svn
  return (now[0] ?? 0) >= (least ?? 256) && (now[2] ?? 0) >= (latest[2] ?? 256)
}
