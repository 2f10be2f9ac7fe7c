import { canonicalJson, equalBytes, parseCanonicalJson } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  type ManifestDraft,
  type MeasuredManifest,
  type Region,
  readManifest,
} from "./measured-schema.ts"
import { usualManifest } from "./measured-usual.ts"

export type { ManifestDraft, MeasuredManifest, Region }

/** Bytes. The manifest is read into memory whole, before anything about it is known. */
export const maxManifestSize = 1 << 20

/** Canonical JSON. A manifest that could not be read again is a `config` error. */
export function serialiseManifest(manifest: MeasuredManifest): Uint8Array {
  const bytes = canonicalJson(manifest)
  if (bytes.length > maxManifestSize)
    throw new CofferError(
      "config",
      `manifest: wanted at most ${maxManifestSize} bytes, found ${bytes.length}`,
    )
  const fault = faultOf(manifest)
  if (fault !== undefined) throw new CofferError("config", `manifest: ${fault}`)
  return bytes
}

/** From the bytes of a sealed binary: canonical, of this version, with no unknown field, or an `integrity` error. */
export function parseManifest(bytes: Uint8Array): MeasuredManifest {
  if (bytes.length > maxManifestSize)
    throw damaged(`wanted at most ${maxManifestSize} bytes, found more`)
  const value = parseCanonicalJson(bytes, "manifest")
  const manifest = usualManifest(value) ?? bySchema(value)
  // A schema may drop what it does not see (`__proto__`): then the bytes say more than we would use.
  if (!equalBytes(canonicalJson(manifest), bytes))
    throw damaged("wanted known fields only, found another one")
  const fault = orderFault(manifest)
  if (fault !== undefined) throw damaged(fault)
  return manifest
}

function damaged(text: string): CofferError {
  return new CofferError("integrity", `manifest: ${text}`, { reason: "manifest" })
}

function bySchema(value: unknown): MeasuredManifest {
  const read = readManifest(value)
  if (typeof read === "string") throw damaged(read)
  return read
}

function faultOf(manifest: MeasuredManifest): string | undefined {
  const read = usualManifest(manifest) ?? readManifest(manifest)
  return typeof read === "string" ? read : orderFault(manifest)
}

function orderFault(manifest: MeasuredManifest): string | undefined {
  const paths = manifest.regions.map(({ path }) => path)
  for (const [i, path] of paths.entries()) {
    const before = paths[i - 1]
    if (path === "/") return "regions: / is measured and not listed"
    if (before !== undefined && before >= path)
      return `regions: wanted sorted paths, each once, found ${path} after ${before}`
  }
  const { groups } = manifest.user
  return groups.every((group, i) => i === 0 || (groups[i - 1] ?? 0) < group)
    ? undefined
    : "user.groups: wanted sorted numbers, each once"
}

/** For a name that is allowed with no pattern: anything printable, of a bounded length. */
export const defaultPattern = "[^\\p{Cc}]{0,4096}"

/** Whole matches only. `value` comes from the adversary, so a long one is refused before the pattern sees it. */
export function patternMatches(pattern: string, value: string): boolean {
  return value.length <= 4096 && new RegExp(`^(?:${pattern})$`, "u").test(value)
}
