import { z } from "zod"

/** Scalars of the policy language. The `error` of each is the "wanted" of its message. */

export const nameSchema = z.string().regex(/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/, {
  error: "a name: 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit at both ends",
})

/** Lower case, so that a document has one form. */
export function hexSchema(size: number): z.ZodString {
  return z.string().regex(new RegExp(`^[0-9a-f]{${size * 2}}$`), {
    error: `${size * 2} lower-case hex digits (${size} bytes), quoted when they are all digits`,
  })
}

export function countSchema(min: number, max: number): z.ZodInt {
  return z.int({ error: "a whole number" }).min(min, `at least ${min}`).max(max, `at most ${max}`)
}

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

/** `30s`, `10m`, `12h`, `90d`: seconds in the normalised document. A number is seconds already. */
export function durationSchema(maxSeconds: number) {
  return z
    .union([z.string(), z.number()], { error: "a duration such as 30s, 10m, 12h or 90d" })
    .transform((value, context) => {
      const seconds = typeof value === "number" ? value : secondsOf(value)
      if (
        seconds !== undefined &&
        Number.isSafeInteger(seconds) &&
        seconds > 0 &&
        seconds <= maxSeconds
      )
        return seconds
      context.addIssue({
        code: "custom",
        message: `a duration such as 30s, 10m, 12h or 90d, of ${maxSeconds} seconds at most`,
      })
      return z.NEVER
    })
}

function secondsOf(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  return digits === undefined ? undefined : Number(digits) * (units[unit] ?? 1)
}

export const absolutePathSchema = z
  .string()
  .max(4096)
  .refine((path) => path.startsWith("/") && isPlainPath(path), {
    error: "an absolute path with no '.', '..', empty part or NUL",
  })

function isPlainPath(path: string): boolean {
  if (path.includes("\0")) return false
  return path
    .slice(1)
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== "..")
}

export const versionSchema = z.string().regex(/^\d{1,6}\.\d{1,6}\.\d{1,6}$/, {
  error: "a version such as 0.1.0",
})

/** Entries of a mapping: a document that is small must not be much work. */
export function atMost<T extends z.ZodType<Readonly<Record<string, unknown>>>>(
  count: number,
  schema: T,
): T {
  return schema.refine((entries) => Object.keys(entries).length <= count, {
    error: `at most ${count} entries`,
  })
}
