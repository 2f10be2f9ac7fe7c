import { z } from "zod"
import {
  digestPattern,
  hashPattern,
  isCleanText,
  isNormalPath,
  isPattern,
  maxId,
  maxPathLength,
  maxPatternLength,
  maxTextLength,
  namePattern,
  variablePattern,
} from "./rules.ts"

/** Scalars of both manifests. The `error` of each is the "wanted" of its message. */

export const nameSchema = z.string().regex(namePattern, {
  error: "a name: 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit at both ends",
})

export const digestSchema = z.string().regex(digestPattern, {
  error: "a digest, sha256: and 64 lower-case hex digits",
})

export const hashSchema = z.string().regex(hashPattern, {
  error: "64 lower-case hex digits, quoted when they are all digits",
})

/** An argument or a value: what `execve` can take. */
export const textSchema = z
  .string({ error: "text" })
  .max(maxTextLength, "at most 131,071 characters")
  .refine(isCleanText, { error: "text without NUL" })

export const pathSchema = z
  .string({ error: "an absolute path" })
  .max(maxPathLength, "at most 4095 characters")
  .refine(isNormalPath, { error: "an absolute path without '.', '..', empty parts or NUL" })

export const variableSchema = z
  .string()
  .regex(variablePattern, {
    error: "a variable's name: letters, digits, '_', '.', '-', not beginning with a digit",
  })
  .refine((name) => name !== "__proto__", { error: "another name" })

/** Whole values must match it; the `u` flag, no flags of the pattern's own. */
export const patternSchema = z
  .string({ error: "a regular expression for the whole value" })
  .max(maxPatternLength, "at most 256 characters")
  .refine(isPattern, { error: "a regular expression (ECMAScript, for the whole value)" })

export const idSchema = z
  .int({ error: "a whole number" })
  .min(0, "at least 0")
  .max(maxId, "at most 4294967294")
