import { CofferError } from "../errors.ts"

/** The checks that can fail, as `reason` in the error. */
export type TarFault =
  | "tar-truncated"
  | "tar-checksum"
  | "tar-header"
  | "tar-number"
  | "tar-extension"
  | "tar-sparse"
  | "tar-trailing"
  | "tar-unsupported"

/** The tar is damaged, or lies about itself. `position` is the byte of the header in question. */
export function tarFault(
  position: number,
  reason: TarFault,
  wanted: string,
  found: string,
): CofferError {
  return new CofferError("integrity", `tar at byte ${position}: wanted ${wanted}, found ${found}`, {
    reason,
    facts: { offset: position },
  })
}
