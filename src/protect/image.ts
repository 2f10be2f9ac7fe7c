import { closeSync, openSync, readSync } from "node:fs"
import { toHex, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { ManifestDraft } from "../manifest/index.ts"
import type { Descriptor, ImageConfig, LayoutWriter } from "../oci/index.ts"
import { sealedPath, storesPath, writeAll } from "../seal/index.ts"
import { tarAround, writeTar } from "../tar/index.ts"
import {
  type Content,
  type DirectoryNode,
  type OnProgress,
  plainDirectory,
  TreeBuilder,
  walk,
} from "../tree/index.ts"

/** The files of one store: `header`, and `segments` with files in it. */
export interface StoredRegion {
  readonly name: string
  readonly files: DirectoryNode
}

export const annotationKeys = {
  mrEnclave: "io.coffer.mrenclave",
  sourceDigest: "org.opencontainers.image.base.digest",
} as const

export interface ProtectedImage {
  /** Config of the source image, or of a protected one, which gives the same bytes. */
  readonly config: ImageConfig
  /** Of the source image's manifest. */
  readonly sourceDigest: string | undefined
  /** The layer with the sealed binary: `sealedLayer`, or `addSealed`. */
  readonly layer: Descriptor
  readonly manifest: Pick<ManifestDraft, "user">
  readonly mrEnclave: Uint8Array
  readonly stores: readonly StoredRegion[]
}

/** Content of an open file that nobody else writes. */
export function contentOfFd(fd: number, size: number): Content {
  return {
    size,
    ranges: [{ offset: 0, size }],
    read(target, position) {
      for (let at = 0; at < target.length; ) {
        const count = readSync(fd, target, at, target.length - at, position + at)
        if (count === 0)
          throw new CofferError("io", "the sealed binary ends early: was it changed meanwhile?")
        at += count
      }
    },
  }
}

const layerType = "application/vnd.oci.image.layer.v1.tar"

function layerTree(sealed: Content): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  tree.put(utf8OfByteString(sealedPath), {
    kind: "file",
    meta: { ...plainDirectory, mode: 0o755 },
    content: sealed,
  })
  return tree.finish()
}

/** Adds the layer with a sealed binary that is there already. */
export function addSealed(
  layout: LayoutWriter,
  sealed: Content,
  onProgress: OnProgress,
): Descriptor {
  return layout.addBlob(layerType, (sink) => writeTar(layerTree(sealed), sink, onProgress))
}

/** Makes a sealed binary in its layer: `seal` writes it into the file at `path` from `offset` on, and returns its size. */
export function sealInto(
  layout: LayoutWriter,
  seal: (path: string, offset: number) => number,
): Promise<Descriptor> {
  return layout.addFile(layerType, (path) => {
    const offset = around(0).head.length
    const size = seal(path, offset)
    const { head, tail } = around(size)
    if (head.length !== offset) throw tooLarge(size)
    const fd = openSync(path, "r+")
    try {
      writeAll(fd, head, 0)
      writeAll(fd, tail, offset + size)
    } finally {
      closeSync(fd)
    }
  })
}

function around(size: number): ReturnType<typeof tarAround> {
  const ranges = size === 0 ? [] : [{ offset: 0, size }]
  return tarAround(layerTree({ size, ranges, read: () => undefined }))
}

function tooLarge(size: number): CofferError {
  return new CofferError("config", `wanted a sealed binary below 8 GiB, found ${size} bytes`, {
    hint: "put large data into a region of the image, or into a volume",
  })
}

/**
 * Adds the protected image to a layout: a layer with the sealed binary, one more for each store, the source's labels,
 * ports, user, volumes and stop signal, and an entrypoint that fails closed without Coffer. A function of its input: no clock, no random.
 */
export function writeProtectedImage(
  layout: LayoutWriter,
  image: ProtectedImage,
  onProgress: OnProgress,
): Descriptor {
  // Not compressed: the sealed binary is read at random when it runs, and engines compress what they push. A store has a
  // layer of its own: new content of a region is all that a registry has to take.
  const stores = image.stores.map((store) =>
    layout.addBlob(layerType, (sink) => writeTar(storeTree(store), sink, onProgress)),
  )
  const layers = [image.layer, ...stores]
  const annotations = {
    [annotationKeys.mrEnclave]: toHex(image.mrEnclave),
    ...(image.sourceDigest === undefined
      ? {}
      : { [annotationKeys.sourceDigest]: image.sourceDigest }),
  }
  const config = layout.addDocument(
    "application/vnd.oci.image.config.v1+json",
    protectedConfig(
      image,
      layers.map(({ digest }) => digest),
      annotations,
    ),
  )
  return layout.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { ...config },
    layers: layers.map((layer) => ({ ...layer })),
    annotations,
  })
}

function storeTree({ name, files }: StoredRegion): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  for (const { path, node } of walk(files))
    if (node.kind === "file") tree.put(utf8OfByteString(`${storesPath}/${name}${path}`), node)
  return tree.finish()
}

type Json = Parameters<LayoutWriter["addDocument"]>[1]

function protectedConfig(
  { config: source, manifest: { user } }: ProtectedImage,
  diffIds: readonly string[],
  labels: Readonly<Record<string, string>>,
): Json {
  const { ExposedPorts, Volumes, WorkingDir, Labels, StopSignal } = source.config ?? {}
  return {
    architecture: source.architecture,
    os: source.os,
    variant: source.variant,
    config: {
      // In numbers: the engine finds no /etc/passwd in this image.
      User: `${user.uid}:${user.gid}`,
      ExposedPorts: ExposedPorts ?? undefined,
      Volumes: Volumes ?? undefined,
      WorkingDir,
      StopSignal,
      Entrypoint: [sealedPath],
      Labels: { ...Labels, ...labels },
    },
    rootfs: { type: "layers", diff_ids: [...diffIds] },
  }
}
