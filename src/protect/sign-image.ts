import { closeSync, openSync } from "node:fs"
import { join } from "node:path"
import { CofferError } from "../errors.ts"
import type { ImageReference, SourceImage } from "../oci/index.ts"
import { openFile, readSealed, type SignInput, signSealed, writeAll } from "../seal/index.ts"
import type { SigstructClaims } from "../sgx/index.ts"
import { makeLargeScratch, scratchError } from "../sys/index.ts"
import { type Content, type OnProgress, readPieces } from "../tree/index.ts"
import { deliver, type Output } from "./deliver.ts"
import { addSealed, annotationKeys, contentOfFd, writeProtectedImage } from "./image.ts"
import { openService, type ServiceInImage } from "./resolve.ts"

export interface SignImageInput {
  readonly reference: ImageReference
  readonly sign: SignInput
  /** Where `docker-archive:-` reads from and writes to. */
  readonly input: AsyncIterable<Uint8Array>
  readonly output: Output
  readonly onProgress: OnProgress
}

/**
 * Signs the sealed binary of a protected image, and puts the image back under the name that it had: whole, or not at all.
 * The result is, byte for byte, what `protect` with this key would have made.
 */
export async function signImage(input: SignImageInput): Promise<SigstructClaims> {
  const scratch = makeLargeScratch("coffer-sign-")
  try {
    const path = join(scratch.path, "sealed")
    const service = await openService(input.reference, input.input, input.onProgress)
    try {
      const target = sameName(input.reference, service.image)
      copyOut(service.sealed, path)
      const claims = signSealed(path, input.sign)
      await putBack(input, target, service, path, scratch.path)
      return claims
    } finally {
      service.close()
    }
  } finally {
    scratch.remove()
  }
}

/** With the tag that the store has, so that no second image comes to be beside the unsigned one. */
function sameName(reference: ImageReference, { tag }: SourceImage): ImageReference {
  if (reference.kind === "skopeo" || reference.kind === "bare") return reference
  if (tag !== undefined) return { ...reference, tag }
  throw new CofferError("config", "wanted an image with a tag, found one without", {
    hint: "give it one, for example with: skopeo copy oci:DIR oci:OTHER:TAG",
  })
}

function copyOut(content: Content, path: string): void {
  try {
    const fd = openSync(path, "wx", 0o600)
    try {
      for (const { bytes, position } of readPieces(content, { offset: 0, size: content.size }))
        writeAll(fd, bytes, position)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw scratchError(error, "the sealed binary: temporary file")
  }
}

async function putBack(
  { output, onProgress }: SignImageInput,
  target: ImageReference,
  { image: { config }, stores }: ServiceInImage,
  path: string,
  scratch: string,
): Promise<void> {
  const source = openFile(path)
  try {
    const { manifest, mrEnclave } = readSealed(source)
    const sealed = contentOfFd(source.fd, source.size)
    const sourceDigest =
      manifest.source?.image ?? config.config?.Labels?.[annotationKeys.sourceDigest]
    await deliver(target, scratch, output, (layout, tag) => {
      const layer = addSealed(layout, sealed, onProgress)
      const image = { config, sourceDigest, layer, manifest, mrEnclave, stores }
      layout.finish(writeProtectedImage(layout, image, onProgress), tag)
      return Promise.resolve()
    })
  } finally {
    source.close()
  }
}
