import { createHash } from "node:crypto"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { utf8 } from "../../../src/bytes/index.ts"
import type { ErrorCode } from "../../../src/errors.ts"
import { member, rawTar } from "../raw-tar.ts"

// Images that no tool writes: every document and blob as the test wants it, with digests that fit unless it says otherwise.

export type Expected =
  | { readonly code: ErrorCode; readonly says: RegExp }
  /** `path kind`, sorted, without the root. */
  | { readonly tree: readonly string[] }

export interface HostileImage {
  readonly name: string
  /** Writes the image below `directory`, and says how the command line would name it. */
  readonly make: (directory: string) => string
  readonly expected: Expected
}

export type Json = Readonly<Record<string, unknown>>

export interface LayerSpec {
  /** As stored. */
  readonly blob: Uint8Array
  readonly mediaType?: string
  /** Digest of `blob` after decompression; default that of `blob`. */
  readonly diffId?: string
  /** More members of the descriptor, and others in place of ours. */
  readonly descriptor?: Json
  /** The blob is not stored. */
  readonly absent?: true
}

export interface ImageSpec {
  readonly layers?: readonly LayerSpec[]
  readonly config?: Json
  readonly manifest?: Json
  readonly index?: Json
  readonly layout?: string
}

export const tarType = "application/vnd.oci.image.layer.v1.tar"
export const indexType = "application/vnd.oci.image.index.v1+json"
export const manifestType = "application/vnd.oci.image.manifest.v1+json"
export const configType = "application/vnd.oci.image.config.v1+json"

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`
}

export function layer(...members: readonly Uint8Array[]): LayerSpec {
  return { blob: rawTar(...members) }
}

/** A small image that is in order. */
export const plainLayer = layer(member({ name: "bin/true", data: "x" }))

/** A directory that takes blobs as a layout does. */
export class RawLayout {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
    mkdirSync(join(directory, "blobs", "sha256"), { recursive: true })
  }

  blob(bytes: Uint8Array, mediaType: string): Json {
    const digest = sha256(bytes)
    writeFileSync(join(this.directory, "blobs", "sha256", digest.slice(7)), bytes)
    return { mediaType, digest, size: bytes.length }
  }

  json(value: unknown, mediaType: string): Json {
    return this.blob(utf8(typeof value === "string" ? value : JSON.stringify(value)), mediaType)
  }

  layer({ blob, mediaType = tarType, descriptor, absent }: LayerSpec): Json {
    const stored =
      absent === true
        ? { mediaType, digest: sha256(blob), size: blob.length }
        : this.blob(blob, mediaType)
    return { ...stored, ...descriptor }
  }

  config(layers: readonly LayerSpec[], more: Json = {}): Json {
    const diffIds = layers.map(({ blob, diffId }) => diffId ?? sha256(blob))
    const rootfs = { type: "layers", diff_ids: diffIds }
    const config = { Entrypoint: ["/bin/true"] }
    return this.json({ architecture: "amd64", os: "linux", config, rootfs, ...more }, configType)
  }

  finish(index: unknown, layout = '{"imageLayoutVersion":"1.0.0"}'): string {
    writeFileSync(join(this.directory, "oci-layout"), layout)
    const text = typeof index === "string" ? index : JSON.stringify(index)
    writeFileSync(join(this.directory, "index.json"), text)
    return `oci:${this.directory}`
  }
}

export function writeImage(directory: string, spec: ImageSpec): string {
  const out = new RawLayout(directory)
  const layers = spec.layers ?? [plainLayer]
  const config = out.config(layers, spec.config)
  const listed = layers.map((one) => out.layer(one))
  const manifest = { schemaVersion: 2, config, layers: listed, ...spec.manifest }
  const manifests = [out.json(manifest, manifestType)]
  return out.finish({ schemaVersion: 2, manifests, ...spec.index }, spec.layout)
}

/** A large one is given as a function, and made when it is its turn. */
export function image(
  name: string,
  spec: ImageSpec | (() => ImageSpec),
  expected: Expected,
): HostileImage {
  const make = (directory: string): string =>
    writeImage(directory, typeof spec === "function" ? spec() : spec)
  return { name, make, expected }
}

export function refused(code: ErrorCode, says: RegExp): Expected {
  return { code, says }
}

export function tree(...lines: readonly string[]): Expected {
  return { tree: lines.toSorted() }
}
