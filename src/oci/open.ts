import { closeSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { CofferError } from "../errors.ts"
import { openArchive } from "./archives.ts"
import { openRegular, type Unverified } from "./blobs.ts"
import { openLayout, type Platform, type SourceImage, type Wanted } from "./layout.ts"
import type { ImageReference } from "./reference.ts"
import { skopeoCopy } from "./skopeo.ts"
import { compressionOfBytes, spool, spoolStream } from "./spool.ts"

export interface OpenOptions {
  readonly platform: Platform
  /** Where `docker-archive:-` reads from. */
  readonly input: AsyncIterable<Uint8Array>
  /** Where a copy of an image may lie that is in a storage or a registry; default: the system's temporary folder. */
  readonly scratch?: string
}

/** Opens an image wherever it is; the caller closes it. */
export async function openImage(
  reference: ImageReference,
  options: OpenOptions,
): Promise<SourceImage> {
  const { platform, scratch = tmpdir() } = options
  switch (reference.kind) {
    case "layout":
      return openLayout(reference.directory, reference.tag, platform)
    case "oci-archive":
      return openArchiveFile(reference.file, reference.tag, platform)
    case "docker-archive": {
      if (reference.file !== undefined)
        return openArchiveFile(reference.file, reference.tag, platform)
      const stored = await spoolStream(options.input, "the image on standard input")
      const what = "standard input"
      return openTar(stored, { what, tag: reference.tag, platform }, () => stored.close())
    }
    case "skopeo":
      return openThroughSkopeo(reference.name, platform, scratch)
    case "bare":
      return openBare(reference.name, platform, scratch)
  }
}

function once(close: () => void): () => void {
  let closed = false
  return () => {
    if (!closed) close()
    closed = true
  }
}

function openArchiveFile(
  path: string,
  tag: string | undefined,
  platform: Platform,
): Promise<SourceImage> {
  const file = openRegular(path)
  if (file === undefined) {
    throw new CofferError("missing", `image archive ${path}: wanted a file, found none`)
  }
  return openTar(file.source, { what: path, tag, platform }, () => closeSync(file.fd))
}

/** People compress what `docker save` writes, and engines load it so. */
async function openTar(tar: Unverified, wanted: Wanted, close: () => void): Promise<SourceImage> {
  const compression = compressionOfBytes(startOf(tar))
  if (compression === "plain") return openArchive(tar, wanted, once(close))
  try {
    const { spool: plain } = await spool(tar, compression, wanted.what, () => undefined)
    return openArchive(
      plain,
      wanted,
      once(() => plain.close()),
    )
  } finally {
    close()
  }
}

function startOf(tar: Unverified): Uint8Array {
  const start = new Uint8Array(Math.min(4, tar.size))
  tar.read(start, 0)
  return start
}

async function openBare(name: string, platform: Platform, scratch: string): Promise<SourceImage> {
  try {
    return await openThroughSkopeo(`containers-storage:${name}`, platform, scratch)
  } catch (local) {
    if (!(local instanceof CofferError) || local.reason !== "skopeo") throw local
    return openThroughSkopeo(`docker://${name}`, platform, scratch)
  }
}

/** Copies into a temporary layout, which goes when the image is closed. */
async function openThroughSkopeo(
  name: string,
  platform: Platform,
  scratch: string,
): Promise<SourceImage> {
  const directory = mkdtempSync(join(scratch, "coffer-image-"))
  const remove = once(() => rmSync(directory, { recursive: true, force: true }))
  try {
    const choice = ["--override-os", platform.os, "--override-arch", platform.architecture]
    // Local storages have plain layers: compressing them only to read them again takes most of the time.
    await skopeoCopy(name, `oci:${directory}:image`, choice, [
      "--dest-oci-accept-uncompressed-layers",
    ])
    const image = openLayout(directory, "image", platform)
    return {
      ...image,
      close() {
        image.close()
        remove()
      },
    }
  } catch (error) {
    remove()
    throw error
  }
}
