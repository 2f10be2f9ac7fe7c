import { createHash } from "node:crypto"
import { closeSync, openSync, readSync } from "node:fs"
import { LayoutWriter } from "../../src/oci/index.ts"
import type { ImageConfigJson } from "./image.ts"

/** Makes a layout with one image, tag `1`, of these layers: tars, as they are. Returns its reference. */
export function layoutOfTars(
  tars: readonly string[],
  directory: string,
  config: ImageConfigJson = {},
): string {
  const writer = new LayoutWriter(directory)
  const added = tars.map((tar) => addLayer(writer, tar))
  const configBlob = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: added.map(({ diffId }) => diffId) },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...configBlob },
    layers: added.map(({ layer }) => ({ ...layer })),
  })
  writer.finish(manifest, "1")
  return `oci:${directory}:1`
}

function addLayer(writer: LayoutWriter, tar: string) {
  const hash = createHash("sha256")
  const layer = writer.addBlob("application/vnd.oci.image.layer.v1.tar", (sink) => {
    const fd = openSync(tar, "r")
    const piece = Buffer.alloc(1 << 20)
    for (let size = readSync(fd, piece); size > 0; size = readSync(fd, piece)) {
      hash.update(piece.subarray(0, size))
      sink(piece.subarray(0, size))
    }
    closeSync(fd)
  })
  return { layer, diffId: `sha256:${hash.digest("hex")}` }
}
