import { createHash } from "node:crypto"
import { concatBytes } from "../../src/bytes/index.ts"
import { LayoutWriter } from "../../src/oci/index.ts"
import { writeTar } from "../../src/tar/index.ts"
import type { DirectoryNode } from "../../src/tree/index.ts"

export type ImageConfigJson = Parameters<LayoutWriter["addDocument"]>[1]

/** Makes a layout with one image of one layer, tag `1`, and returns its reference. */
export function layoutOf(tree: DirectoryNode, directory: string, config: ImageConfigJson): string {
  const parts: Uint8Array[] = []
  writeTar(tree, (part) => void parts.push(Uint8Array.from(part)))
  const tar = concatBytes(...parts)
  const writer = new LayoutWriter(directory)
  const layer = writer.addBlob("application/vnd.oci.image.layer.v1.tar", (sink) => sink(tar))
  const diffId = `sha256:${createHash("sha256").update(tar).digest("hex")}`
  const configBlob = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: [diffId] },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...configBlob },
    layers: [{ ...layer }],
  })
  writer.finish(manifest, "1")
  return `oci:${directory}:1`
}
