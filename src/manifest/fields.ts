import { z } from "zod"

/** Scalars of both manifests. The `error` of each is the "wanted" of its message. */

export const nameSchema = z.string().regex(/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/, {
  error: "a name: 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit at both ends",
})

export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, {
  error: "a digest, sha256: and 64 lower-case hex digits",
})

export const hashSchema = z.string().regex(/^[0-9a-f]{64}$/, {
  error: "64 lower-case hex digits, quoted when they are all digits",
})

/** An argument or a value: what `execve` can take. */
export const textSchema = z
  .string({ error: "text" })
  .max(131_071, "at most 131,071 characters")
  .refine((text) => !text.includes("\0") && text.isWellFormed(), { error: "text without NUL" })

export const pathSchema = z
  .string({ error: "an absolute path" })
  .max(4095, "at most 4095 characters")
  .refine(isNormalPath, { error: "an absolute path without '.', '..', empty parts or NUL" })

function isNormalPath(path: string): boolean {
  if (path === "/") return true
  if (!path.startsWith("/") || path.includes("\0") || !path.isWellFormed()) return false
  return path
    .slice(1)
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== ".." && Buffer.byteLength(part) <= 255)
}

export const variableSchema = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,254}$/, {
    error: "a variable's name: letters, digits, '_', '.', '-', not beginning with a digit",
  })
  .refine((name) => name !== "__proto__", { error: "another name" })

/** Whole values must match it; the `u` flag, no flags of the pattern's own. */
export const patternSchema = z
  .string({ error: "a regular expression for the whole value" })
  .max(256, "at most 256 characters")
  .refine(isPattern, { error: "a regular expression (ECMAScript, for the whole value)" })

function isPattern(text: string): boolean {
  try {
    return text.isWellFormed() && new RegExp(`^(?:${text})$`, "u") instanceof RegExp
  } catch {
    return false
  }
}

export const idSchema = z
  .int({ error: "a whole number" })
  .min(0, "at least 0")
  .max(4_294_967_294, "at most 4294967294")

export const signals = [
  "SIGTERM",
  "SIGINT",
  "SIGQUIT",
  "SIGHUP",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
  "SIGABRT",
  "SIGPWR",
  "SIGRTMIN+3",
] as const
