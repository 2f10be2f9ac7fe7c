import { CofferError, isErrno } from "../../errors.ts"

/** As the kernel wants them: negative. */
export const e = {
  EPERM: -1,
  ENOENT: -2,
  EIO: -5,
  EEXIST: -17,
  ENOTDIR: -20,
  EISDIR: -21,
  EINVAL: -22,
  EFBIG: -27,
  ENOSPC: -28,
  EROFS: -30,
  EMLINK: -31,
  ERANGE: -34,
  ENAMETOOLONG: -36,
  ENOTEMPTY: -39,
  ENODATA: -61,
  EOPNOTSUPP: -95,
  E2BIG: -7,
} as const

/** The errno (negative) that a fault of the store or the index is to the caller. */
export function errnoOf(error: unknown): number {
  const code = error instanceof CofferError ? error.facts["errno"] : undefined
  return code === "ENOSPC" || isErrno(error, "ENOSPC") ? e.ENOSPC : e.EIO
}
