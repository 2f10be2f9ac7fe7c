/**
 * The one error class of Coffer.
 *
 * A `CofferError` is something a user can meet: its message says, in lower case, what was wanted, what was found; its
 * hint says what to do. Its code decides the exit code (DESIGN.md section 11) and nothing else does.
 * Misuse by our own code is a `TypeError`; a broken invariant is a failed assertion.
 */
export type ErrorCode =
  | "usage" // the command line is wrong
  | "config" // a document that the user wrote, or gave as input, is not what it must be
  | "integrity" // tampered, corrupt, or opened with a wrong key
  | "rollback" // older than the anchor, or a second branch
  | "refused" // a policy or the attestation says no
  | "missing" // something needed is not there: a tool, a kernel feature, a file, the network
  | "io" // the disk or the network failed while we used it
  | "fault" // a fault of ours

const exitCodes: Readonly<Record<ErrorCode, number>> = {
  fault: 1,
  usage: 2,
  config: 2,
  integrity: 3,
  rollback: 4,
  refused: 5,
  missing: 6,
  io: 7,
}

export interface ErrorDetail {
  /** What to do now, one sentence. */
  readonly hint?: string
  /** A stable, machine-readable name for the check that failed, for example `tcb-revoked`. */
  readonly reason?: string
  /** Facts for `--json`: file, offset, wanted, found. Never a secret. */
  readonly facts?: Readonly<Record<string, string | number | boolean | null>>
  readonly cause?: unknown
}

export class CofferError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly reason: string | undefined
  readonly facts: Readonly<Record<string, string | number | boolean | null>>

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? {} : { cause: detail.cause })
    this.name = "CofferError"
    this.code = code
    this.hint = detail.hint
    this.reason = detail.reason
    this.facts = detail.facts ?? {}
  }
}

export function exitCodeOf(error: unknown): number {
  return exitCodes[error instanceof CofferError ? error.code : "fault"]
}

interface SystemError extends Error {
  readonly code: string
  readonly syscall?: string
  readonly path?: string
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "code" in error && typeof error.code === "string"
}

/** True when `error` is the system's error of that name, for example `ENOENT`. */
export function isErrno(error: unknown, ...names: readonly string[]): boolean {
  return isSystemError(error) && names.includes(error.code)
}

const absent: readonly string[] = ["ENOENT", "ENOTDIR", "ENXIO", "ENODEV", "ECONNREFUSED"]

/** The system's error on `what`, as ours: absent things are `missing`, all others `io`. CofferErrors pass unchanged. */
export function fromSystem(error: unknown, what: string, hint?: string): Error {
  if (error instanceof CofferError) return error
  if (!isSystemError(error)) return error instanceof Error ? error : new Error(String(error))
  const code: ErrorCode = absent.includes(error.code) ? "missing" : "io"
  const detail: ErrorDetail = { cause: error, facts: { errno: error.code } }
  return new CofferError(
    code,
    `${what}: ${describeErrno(error)}`,
    hint === undefined ? detail : { ...detail, hint },
  )
}

function describeErrno(error: SystemError): string {
  const words = /^[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message
  return `${words} (${error.code})`
}
