import { utf8OfByteString } from "../bytes/index.ts"
import type { MeasuredManifest, Region } from "../manifest/index.ts"
import type { StoredRegion } from "../protect/index.ts"
import { RegionStores } from "../runtime/index.ts"
import type { StoreContent } from "../seal/index.ts"
import { dataSize } from "../tree/index.ts"
import { ExtentDisk, exportTree, fileSystemOn, openOnce, tagOnce } from "../volume/index.ts"

/** What an image has in the stores of its regions. */
export interface RegionContents {
  /** By the region's path. */
  readonly stores: ReadonlyMap<string, StoreContent>
  close(): void
}

/**
 * Sizes of the stores, and their files where they can be read: with the key, or when they are only authenticated. Files are
 * shown as the image has them; that a policy accepts this content is for the runtime to find.
 */
export function regionContents(
  manifest: MeasuredManifest,
  stored: readonly StoredRegion[],
  key: Uint8Array | undefined,
): RegionContents {
  const closes: (() => void)[] = []
  const stores = new Map<string, StoreContent>()
  for (const region of manifest.regions) {
    const found = stored.find(({ name }) => region.kind === "image" && name === region.store)
    if (region.kind !== "image" || found === undefined) continue
    const size = dataSize(found.files)
    if (region.protection === "encrypted" && key === undefined) stores.set(region.path, { size })
    else stores.set(region.path, { size, content: contentOf(region, found, key, closes) })
  }
  const close = () => {
    for (const end of closes.splice(0).toReversed()) end()
  }
  return { stores, close }
}

function contentOf(
  { path, store, protection, tag: measured }: Extract<Region, { kind: "image" }>,
  found: StoredRegion,
  given: Uint8Array | undefined,
  closes: (() => void)[],
) {
  const files = RegionStores.ofImage([found])
  closes.push(() => files.close())
  const disk = new ExtentDisk(`region ${path}`, files.of(store) ?? [])
  closes.push(() => disk.closeAll())
  const key = protection === "encrypted" ? given : undefined
  const tag = measured === undefined ? tagOnce({ disk, key }) : Buffer.from(measured, "hex")
  const fs = fileSystemOn(openOnce({ disk, key, tag }), { readOnly: true }, () => undefined)
  closes.push(() => fs.destroy())
  return exportTree(fs, utf8OfByteString("/"))
}
