import { close } from "node:fs"
import { promisify } from "node:util"
import { type BlobStore, locate, type Unverified, wrongDigest } from "./blobs.ts"
import { LayerCache } from "./layer-cache.ts"
import type { LayerJob } from "./layer-jobs.ts"
import type { Layer, SourceImage } from "./layout.ts"
import type { Compression, Passed } from "./pass.ts"
import {
  checkDigests,
  compressionOf,
  decompressedLimit,
  nameOf,
  oneLimit,
  spoolLayer,
} from "./spool.ts"
import { openSpool, type Spool } from "./spool-file.ts"

const closeInPool = promisify(close)

/** A layer that can be read, and perhaps where. */
export type PlacedLayer = Pick<Spool, "size" | "read"> & { readonly fd?: number }

/** A layer on its way. */
export interface OpenLayer {
  /** The pass over its bytes; undefined where they lie in no file, and only this thread can read them. */
  readonly job: LayerJob | undefined
  /** The layer, when what the pass found is right. Without a job it makes the pass itself. Once. */
  accept(passed: Passed | undefined): PlacedLayer | Promise<PlacedLayer>
}

export interface LayerOptions {
  /** Layers stored as plain tars are read where they lie, with no copy: for content that is verified on every read. */
  readonly inPlace?: boolean
  /** A directory that keeps decompressed layers, see `LayerCache`. */
  readonly cache?: string | undefined
}

/** Opens the layers of an image, where and as they are best read. `close` closes all. */
export class LayerOpener {
  readonly #blobs: BlobStore
  readonly #inPlace: boolean
  readonly #cache: LayerCache | undefined
  readonly #open: Spool[] = []
  /** The same layer may stand there a thousand times: it is stored once. */
  readonly #known = new Map<string, OpenLayer>()
  #left: number

  constructor(image: SourceImage, { inPlace, cache }: LayerOptions) {
    this.#blobs = image.blobs
    this.#inPlace = inPlace === true
    this.#cache = cache === undefined ? undefined : new LayerCache(cache)
    this.#left = decompressedLimit(image.layers)
  }

  open(layer: Layer): OpenLayer {
    const { digest, mediaType } = layer.blob
    const key = `${digest} ${layer.diffId} ${mediaType}`
    const found = this.#known.get(key) ?? this.#opened(layer)
    this.#known.set(key, found)
    return found
  }

  close(): void {
    for (const file of this.#open.splice(0)) file.close()
  }

  /** The same on threads of the pool: the kernel takes a while to give back the memory of large files. Never fails. */
  async release(): Promise<void> {
    await Promise.allSettled(this.#open.splice(0).map(({ fd }) => closeInPool(fd)))
  }

  #opened(layer: Layer): OpenLayer {
    const compression = compressionOf(layer.blob)
    const cache = compression === "plain" ? undefined : this.#cache
    const kept = cache?.find(layer.diffId)
    if (cache !== undefined && kept !== undefined) return this.#fromCache(cache, layer, kept)
    const stored = locate(this.#blobs, layer.blob, nameOf(layer))
    const place = placeOf(stored)
    if (compression === "plain" && this.#inPlace && place !== undefined)
      return this.#where(layer, stored, place)
    if (place === undefined) return { job: undefined, accept: () => this.#spooled(layer, cache) }
    const spool = openSpool(nameOf(layer))
    this.#open.push(spool)
    return {
      job: jobOf(layer, place, compression, spool.fd),
      accept(passed) {
        checkDigests(layer, expect(passed))
        spool.size = expect(passed).size
        cache?.keep(layer.diffId, spool)
        return spool
      },
    }
  }

  /** What was kept may be damaged: then it goes, and the blob is read. */
  #fromCache(cache: LayerCache, layer: Layer, kept: Spool): OpenLayer {
    this.#open.push(kept)
    return {
      job: jobOf(layer, { fd: kept.fd, offset: 0, size: kept.size }, "plain", undefined),
      accept: (passed) => {
        if (expect(passed).plainDigest !== layer.diffId) {
          cache.remove(layer.diffId)
          return this.#spooled(layer, cache)
        }
        cache.used(kept)
        return kept
      },
    }
  }

  /**
   * A layer that is stored as a plain tar, where it lies: its digest is checked once, and nothing is copied. The disk may
   * answer the second read differently, so this is only for content that is verified again when it is read.
   */
  #where(layer: Layer, stored: Unverified, place: LayerJob["place"]): OpenLayer {
    return {
      job: jobOf(layer, place, "plain", undefined),
      accept(passed) {
        const { digest } = expect(passed)
        for (const want of [layer.blob.digest, layer.diffId])
          if (want.startsWith("sha256:") && want !== digest)
            throw wrongDigest(nameOf(layer), want, digest)
        const read: Spool["read"] = (target, position) => stored.read(target, position)
        const where = stored.fd === undefined ? {} : { fd: stored.fd }
        return { ...where, size: stored.size, read }
      },
    }
  }

  async #spooled(layer: Layer, cache: LayerCache | undefined): Promise<PlacedLayer> {
    const spool = await spoolLayer(this.#blobs, layer, () => undefined, this.#left)
    this.#open.push(spool)
    this.#left -= spool.size
    cache?.keep(layer.diffId, spool)
    return spool
  }
}

function placeOf({ place, fd, size }: Unverified): LayerJob["place"] | undefined {
  if (place !== undefined) return { ...place, size }
  return fd === undefined ? undefined : { fd, offset: 0, size }
}

function jobOf(
  layer: Layer,
  place: LayerJob["place"],
  compression: Compression,
  target: number | undefined,
): LayerJob {
  return { what: nameOf(layer), place, compression, target, limit: oneLimit(place.size) }
}

function expect(passed: Passed | undefined): Passed {
  if (passed === undefined) throw new TypeError("a layer with a job is accepted after its pass")
  return passed
}
