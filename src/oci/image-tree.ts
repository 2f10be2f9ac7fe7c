import { fromSystem } from "../errors.ts"
import {
  type DirectoryNode,
  type OnProgress,
  plainDirectory,
  TreeAllowance,
} from "../tree/index.ts"
import type { LayerJob } from "./layer-jobs.ts"
import { LayerThreads } from "./layer-threads.ts"
import { applyLayer } from "./layers.ts"
import type { SourceImage } from "./layout.ts"
import { LayerOpener, type LayerOptions, type OpenLayer, type PlacedLayer } from "./open-layers.ts"
import { decompressedLimit } from "./spool.ts"

/** The root filesystem of an image, whose content stays readable until it is closed. */
export interface ImageTree {
  readonly root: DirectoryNode
  /** Bytes of all its layers after decompression. */
  readonly size: number
  close(): void
  /** `close` that goes on beside what the caller does next. Never fails; a `close` after it does nothing. */
  release(): Promise<void>
}

export interface TreeOptions extends LayerOptions {
  /** Threads beside this one that read layers. Default: as many as are worth it. */
  readonly workerCount?: number
}

/** Checks and applies all layers. Progress counts bytes of layers after decompression. */
export async function imageTree(
  image: SourceImage,
  onProgress: OnProgress,
  options: TreeOptions = {},
): Promise<ImageTree> {
  const opener = new LayerOpener(image, options)
  let threads: LayerThreads | undefined
  try {
    const layers = image.layers.map((layer) => opener.open(layer))
    const jobs = [...new Set(layers)].flatMap(({ job }) => job ?? [])
    const limit = decompressedLimit(image.layers)
    threads = new LayerThreads(jobs, limit, onProgress, options.workerCount)
    const placed = new Map<OpenLayer, PlacedLayer>()
    const allowance = new TreeAllowance()
    let root: DirectoryNode | undefined
    for (const layer of layers) {
      const known = placed.get(layer)
      const found = known ?? (await place(layer, jobs, threads))
      placed.set(layer, found)
      root = applyLayer(root, found, allowance)
    }
    await threads.stop()
    const size = [...placed.values()].reduce((sum, layer) => sum + layer.size, 0)
    return {
      root: root ?? empty,
      size,
      close: () => opener.close(),
      release: () => opener.release(),
    }
  } catch (error) {
    await threads?.stop()
    opener.close()
    throw error
  }
}

const empty: DirectoryNode = { kind: "directory", meta: plainDirectory, children: new Map() }

async function place(
  layer: OpenLayer,
  jobs: readonly LayerJob[],
  threads: LayerThreads,
): Promise<PlacedLayer> {
  const { job } = layer
  if (job === undefined) return await layer.accept(undefined)
  try {
    return await layer.accept(await threads.passed(jobs.indexOf(job)))
  } catch (error) {
    throw fromSystem(error, `${job.what}: reading`)
  }
}
