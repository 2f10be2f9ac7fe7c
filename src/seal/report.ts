import { toHex } from "../bytes/index.ts"
import { type MeasuredManifest, manifestWarnings, type Region } from "../manifest/index.ts"
import { describeFields } from "../sgx/index.ts"
import type { ByteSource } from "../verity/index.ts"
import { openTree } from "./files.ts"
import {
  type ClassCoverage,
  coverage,
  type InventoryEntry,
  inventory,
  protectionOf,
  type StoreContent,
} from "./inventory.ts"
import type { SealedBinary } from "./read.ts"

/** All that `coffer inspect` says about a sealed binary: as text, as JSON, as a page. What needs a look comes first. */
export interface SealedReport {
  readonly kind: "sealed-binary"
  readonly mrEnclave: string
  readonly signature: ReturnType<typeof describeFields> | null
  /** Bytes. */
  readonly sizes: {
    readonly file: number
    readonly head: number
    readonly binfs: number
    readonly verity: number
    /** Of the regions' stores, which lie beside the binary in the image. */
    readonly stores: number
  }
  /** One sentence each: executable but not measured, unprotected, what the host decides, debug. */
  readonly warnings: readonly string[]
  readonly unprotected: readonly Region[]
  readonly coverage: readonly ClassCoverage[]
  readonly manifest: MeasuredManifest
  readonly files: readonly InventoryEntry[]
}

export function sealedReport(
  binary: SealedBinary,
  source: ByteSource,
  stores: ReadonlyMap<string, StoreContent> = new Map(),
): SealedReport {
  const { manifest, mrEnclave, signature } = binary
  const files = inventory(openTree(source, manifest), manifest, stores)
  return {
    kind: "sealed-binary",
    mrEnclave: toHex(mrEnclave),
    signature: signature === undefined ? null : describeFields(signature),
    sizes: {
      file: source.size,
      head: manifest.binfs.offset,
      binfs: manifest.binfs.size,
      verity: manifest.verity.size,
      stores: [...stores.values()].reduce((sum, { size }) => sum + size, 0),
    },
    warnings: [
      ...unmeasuredPrograms(files),
      ...executableRegions(manifest.regions),
      ...manifestWarnings(manifest),
    ],
    unprotected: manifest.regions.filter((region) => protectionOf(region) === "none"),
    coverage: coverage(files),
    manifest,
    files,
  }
}

const shownCount = 3

/** Files of the image that are marked as programs, at places whose content the measurement does not hold. */
function unmeasuredPrograms(files: readonly InventoryEntry[]): string[] {
  const found = files.filter(
    ({ kind, mode, class: protection }) =>
      kind === "file" && protection !== "measured" && (Number.parseInt(mode, 8) & 0o111) !== 0,
  )
  if (found.length === 0) return []
  const names = found.slice(0, shownCount).map(({ path }) => path)
  const more = found.length > shownCount ? ` and ${found.length - shownCount} more` : ""
  const what = found.length === 1 ? "an executable file is" : `${found.length} executable files are`
  return [`${what} not measured: ${names.join(", ")}${more}`]
}

function executableRegions(regions: readonly Region[]): string[] {
  return regions
    .filter((region) => "exec" in region && region.exec)
    .map(({ path }) => `${path}: programs in it may run, and they are not measured`)
}
