import { randomUUID } from "node:crypto"
import { closeSync, fsyncSync, mkdtempSync, openSync, readSync, renameSync, rmSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { fromSystem } from "../errors.ts"
import { type ImageReference, LayoutWriter, skopeoCopy } from "../oci/index.ts"

const tagInLayout = "protected"

/** Fills a layout with one image and makes it visible under the tag. */
export type FillLayout = (layout: LayoutWriter, tag: string) => Promise<void>

/** Takes the bytes of an archive for standard output, in order. */
export type Output = (bytes: Uint8Array) => void

/**
 * Makes an image and puts it where `target` says: whole, or not at all. `scratch` is a folder of the caller's for what is
 * made on the way.
 */
export async function deliver(
  target: ImageReference,
  scratch: string,
  output: Output,
  fill: FillLayout,
): Promise<void> {
  if (target.kind === "layout") {
    await fill(new LayoutWriter(target.directory), target.tag ?? "latest")
    return
  }
  const directory = mkdtempSync(join(scratch, "layout-"))
  await fill(new LayoutWriter(directory), tagInLayout)
  const made = `oci:${directory}:${tagInLayout}`
  switch (target.kind) {
    case "oci-archive":
      await intoFile(target.file, (path) =>
        skopeoCopy(made, `oci-archive:${path}:${target.tag ?? "latest"}`),
      )
      return
    case "docker-archive": {
      const name = target.tag ?? "coffer/protected:latest"
      if (target.file !== undefined) {
        await intoFile(target.file, (path) => skopeoCopy(made, `docker-archive:${path}:${name}`))
        return
      }
      const path = join(scratch, "archive.tar")
      await skopeoCopy(made, `docker-archive:${path}:${name}`)
      stream(path, output)
      return
    }
    case "skopeo":
      await skopeoCopy(made, target.name)
      return
    case "bare":
      await skopeoCopy(made, `containers-storage:${target.name}`)
      return
  }
}

/** `make` writes a file beside; it is synced and renamed when it is whole. */
async function intoFile(file: string, make: (path: string) => Promise<void>): Promise<void> {
  const beside = join(dirname(file), `.${basename(file)}.${randomUUID().slice(0, 8)}.tmp`)
  try {
    await make(beside)
    const fd = openSync(beside, "r")
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(beside, file)
  } catch (error) {
    rmSync(beside, { force: true })
    throw fromSystem(error, `image archive ${file}`)
  }
}

function stream(path: string, output: Output): void {
  const fd = openSync(path, "r")
  try {
    const buffer = new Uint8Array(1 << 20)
    for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer)) {
      output(buffer.subarray(0, count))
    }
  } finally {
    closeSync(fd)
  }
}
