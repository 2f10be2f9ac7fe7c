import { CofferError } from "../../errors.ts"
import { maxSegmentCount } from "./format.ts"

/** Why a store takes no more changes: a write or an fdatasync has failed. */
export function writeFailed(cause: unknown): CofferError {
  const known = cause instanceof CofferError ? cause : undefined
  const what = known?.message ?? String(cause)
  return new CofferError("io", `${what}: the volume is read-only now`, {
    cause,
    facts: { ...known?.facts },
    reason: "write-failed",
    hint: "what was synced before is safe; check the disk, then mount again",
  })
}

export function tooManySegments(): CofferError {
  return new CofferError(
    "io",
    `the volume has ${maxSegmentCount} segments, the most there can be`,
    {
      facts: { errno: "ENOSPC" },
      hint: "delete files and let `coffer volume compact` run",
    },
  )
}
