import { statSync } from "node:fs"
import { CofferError } from "../errors.ts"
import { type ImageReference, parseImageReference } from "../oci/index.ts"
import { openService, type StoredRegion } from "../protect/index.ts"
import { looksSealed, openFile, readSealed, type SealedBinary } from "../seal/index.ts"
import type { ByteSource } from "../verity/index.ts"
import type { Io } from "./io.ts"
import { progressBar } from "./progress.ts"

/** For the help of the commands that take one. */
export const binaryOrImage = "sealed binary, or a protected image as in coffer protect"

/** What an argument means: a file that is there, else an image. */
export type Subject =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "image"; readonly reference: ImageReference }

export function subjectOf(text: string): Subject {
  if (isFile(text)) return { kind: "file", path: text }
  try {
    return { kind: "image", reference: parseImageReference(text) }
  } catch (error) {
    if (text.includes(":")) throw error
    throw new CofferError("missing", `${text}: wanted a file or an image, found neither`, {
      cause: error,
    })
  }
}

function isFile(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false })
  return found !== undefined && !found.isDirectory()
}

/** Opens a file, or the sealed binary in a protected image, and closes it when `use` is done. */
export async function withSubject<T>(
  text: string,
  io: Io,
  use: (source: ByteSource, stores: readonly StoredRegion[]) => T | Promise<T>,
): Promise<T> {
  const subject = subjectOf(text)
  if (subject.kind === "file") {
    const source = openFile(subject.path)
    try {
      return await use(source, [])
    } finally {
      source.close()
    }
  }
  const bar = progressBar(io, "reading the image")
  try {
    const service = await openService(subject.reference, process.stdin, bar.update).catch(
      (error: unknown) => {
        throw noFile(text, error)
      },
    )
    bar.end()
    try {
      return await use(service.sealed, service.stores)
    } finally {
      service.close()
    }
  } finally {
    bar.end()
  }
}

/** A bare name that is no image may have been meant as a file's. */
function noFile(text: string, error: unknown): unknown {
  if (!(error instanceof CofferError) || error.code !== "missing" || text.includes(":"))
    return error
  const { reason = "", facts, cause, message } = error
  const hint =
    error.hint ??
    (statSync(text, { throwIfNoEntry: false }) === undefined
      ? `there is no file ${text} here, so it was taken as the name of an image`
      : `${text} is a directory here: an OCI layout is oci:${text}, a root filesystem becomes a sealed binary by coffer seal`)
  return new CofferError("missing", message, { hint, reason, facts, cause })
}

/** The same, with the head read and checked. What is no sealed binary is a `config` error. */
export async function withSealed<T>(
  text: string,
  io: Io,
  use: (
    binary: SealedBinary,
    source: ByteSource,
    stores: readonly StoredRegion[],
  ) => T | Promise<T>,
): Promise<T> {
  return await withSubject(text, io, async (source, stores) => {
    const start = new Uint8Array(Math.min(source.size, 0x5000))
    source.read(start, 0)
    if (looksSealed(start)) return await use(readSealed(source), source, stores)
    throw new CofferError("config", `${text}: wanted a sealed binary, found something else`, {
      hint: "make one with: coffer seal DIR OUT --manifest coffer.yaml",
    })
  })
}
