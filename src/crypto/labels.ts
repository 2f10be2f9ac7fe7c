import { utf8 } from "../bytes/index.ts"

/**
 * Every HKDF label, hash prefix and signing context of Coffer, and what it separates. None is used for two things:
 * a test shows that no two are equal and that none is a prefix of another.
 */
export const labels = {} as const satisfies Record<string, string>

export type Label = keyof typeof labels

/** The label's bytes with a closing NUL. */
export function labelBytes(label: Label): Uint8Array {
  return utf8(`${labels[label]}\0`)
}
