import { closeSync, constants, openSync } from "node:fs"
import { join } from "node:path"
import { z } from "zod"
import { CofferError, fromSystem } from "../errors.ts"
import { type BlobStore, directoryBlobs, openRegular, readBlob, readSmall } from "./blobs.ts"
import {
  type Descriptor,
  type ImageConfig,
  type ImageManifest,
  mediaTypes,
  parseImageConfig,
  parseImageIndex,
  parseImageManifest,
  shown,
} from "./documents.ts"

export interface Layer {
  readonly blob: Descriptor
  /** Digest of the tar after decompression. */
  readonly diffId: string
}

/** One image of a store, its documents checked. The layers' bytes are checked when they are spooled. */
export interface SourceImage {
  /** Digest of the manifest: what `podman images --digests` shows. */
  readonly digest: string
  /** What its store calls it; undefined when it has no name. */
  readonly tag: string | undefined
  readonly manifest: ImageManifest
  readonly config: ImageConfig
  readonly layers: readonly Layer[]
  readonly blobs: BlobStore
  close(): void
}

export interface Platform {
  readonly os: string
  readonly architecture: string
}

const layoutDocument = z.object({ imageLayoutVersion: z.string() })
const refName = "org.opencontainers.image.ref.name"
/** Indexes may nest; three levels are more than any tool writes. */
const indexDepth = 3

/** Opens an image of an OCI layout directory. Without a tag the layout must hold one image. */
export function openLayout(
  directory: string,
  tag: string | undefined,
  platform: Platform,
): SourceImage {
  const marker = readDocument(directory, "oci-layout")
  checkLayoutVersion(marker, directory)
  const index = readDocument(directory, "index.json")
  const blobs = directoryBlobs(directory)
  try {
    return openIndexed(blobs, index, { what: directory, tag, platform })
  } catch (error) {
    blobs.close()
    throw error
  }
}

export interface Wanted {
  /** For messages: the layout or archive. */
  readonly what: string
  readonly tag: string | undefined
  readonly platform: Platform
}

/** The image that an `index.json` names by tag. */
export function openIndexed(blobs: BlobStore, index: Uint8Array, wanted: Wanted): SourceImage {
  const chosen = chooseByTag(parseImageIndex(index).manifests, wanted)
  const image = openManifest(blobs, chosen, wanted, indexDepth)
  return { ...image, tag: chosen.annotations?.[refName] }
}

export function checkLayoutVersion(bytes: Uint8Array, what: string): void {
  const parsed = layoutDocument.safeParse(parseJson(bytes))
  const version = parsed.success ? parsed.data.imageLayoutVersion : "none"
  if (!version.startsWith("1.")) {
    throw new CofferError(
      "config",
      `${what}: wanted an OCI image layout of version 1, found version ${shown(version)}`,
    )
  }
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

function readDocument(directory: string, name: string): Uint8Array {
  checkDirectory(directory)
  const file = openRegular(join(directory, name))
  if (file === undefined) {
    throw new CofferError(
      "missing",
      `${directory}: wanted an OCI image layout, found no ${name} in it`,
    )
  }
  try {
    return readSmall(file.source, `${directory}/${name}`)
  } finally {
    closeSync(file.fd)
  }
}

function checkDirectory(directory: string): void {
  try {
    closeSync(openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY))
  } catch (error) {
    throw fromSystem(error, `image layout ${directory}`)
  }
}

function chooseByTag(all: readonly Descriptor[], { what, tag }: Wanted): Descriptor {
  const tags = all.map((entry) => entry.annotations?.[refName]).filter((name) => name !== undefined)
  const candidates =
    tag === undefined ? all : all.filter((entry) => entry.annotations?.[refName] === tag)
  const [first, ...more] = candidates
  const known = tags.length === 0 ? "it has no tags" : `its tags are ${shown(tags.join(", "))}`
  if (first === undefined) {
    throw new CofferError(
      "missing",
      `${what}: wanted ${tag === undefined ? "an image" : `the tag ${tag}`}, found none; ${known}`,
    )
  }
  if (more.length > 0) {
    throw new CofferError("usage", `${what}: wanted one image, found ${candidates.length}`, {
      hint: `add :TAG; ${known}`,
    })
  }
  return first
}

function isOneOf(types: readonly string[], entry: Descriptor): boolean {
  return types.includes(entry.mediaType)
}

function openManifest(
  blobs: BlobStore,
  entry: Descriptor,
  wanted: Wanted,
  depth: number,
): SourceImage {
  if (isOneOf(mediaTypes.index, entry)) {
    if (depth === 0)
      throw new CofferError(
        "config",
        `${wanted.what}: wanted at most ${indexDepth} nested indexes, found more`,
      )
    const nested = parseImageIndex(readBlob(blobs, entry, "image index")).manifests
    return openManifest(blobs, chooseByPlatform(nested, wanted), wanted, depth - 1)
  }
  if (!isOneOf(mediaTypes.manifest, entry)) {
    throw new CofferError(
      "config",
      `${wanted.what}: wanted an image manifest, found media type ${shown(entry.mediaType)}`,
    )
  }
  return imageOf(blobs, entry.digest, parseImageManifest(readBlob(blobs, entry, "image manifest")))
}

function chooseByPlatform(all: readonly Descriptor[], { what, platform }: Wanted): Descriptor {
  const fits = all.find(
    (entry) =>
      entry.platform?.os === platform.os && entry.platform.architecture === platform.architecture,
  )
  if (fits !== undefined) return fits
  const found = all
    .map((entry) => `${entry.platform?.os ?? "?"}/${entry.platform?.architecture ?? "?"}`)
    .join(", ")
  throw new CofferError(
    "missing",
    `${what}: wanted an image for ${platform.os}/${platform.architecture}, found ${shown(found)}`,
  )
}

function imageOf(blobs: BlobStore, digest: string, manifest: ImageManifest): SourceImage {
  const config = parseImageConfig(readBlob(blobs, manifest.config, "image config"))
  const diffIds = config.rootfs.diff_ids
  if (diffIds.length !== manifest.layers.length) {
    throw new CofferError(
      "config",
      `image config: rootfs.diff_ids: wanted ${manifest.layers.length}, one for each layer, found ${diffIds.length}`,
    )
  }
  const layers = manifest.layers.map((blob, i) => ({ blob, diffId: diffIds[i] ?? "" }))
  return { digest, tag: undefined, manifest, config, layers, blobs, close: () => blobs.close() }
}
