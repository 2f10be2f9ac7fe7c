import { closeSync, fstatSync, openSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { displayName, toHex, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { Region } from "../manifest/index.ts"
import { regionTree } from "../seal/index.ts"
import {
  type DirectoryNode,
  type OnProgress,
  plainDirectory,
  TreeBuilder,
  type TreeNode,
  walk,
} from "../tree/index.ts"
import { writeOnce } from "../volume/index.ts"
import { contentOfFd, type StoredRegion } from "./image.ts"

export type ImageRegion = Extract<Region, { kind: "image" }>

/** A region of the image whose content is in a store of its own. */
export interface RegionStore {
  readonly region: ImageRegion
  /** 64 hex digits: names this content and no other. */
  readonly tag: string
  readonly fileCount: number
  /** Bytes of those files. */
  readonly size: number
}

/** The same, with the files of the store: `header` and `segments`. */
export interface WrittenStore extends RegionStore {
  readonly files: DirectoryNode
  readonly content: DirectoryNode
}

export interface WrittenStores {
  readonly stores: readonly WrittenStore[]
  close(): void
}

export interface StoresInput {
  readonly image: DirectoryNode
  readonly regions: readonly Region[]
  /** The image's key; asked for once, when a region is encrypted. */
  readonly key: () => Uint8Array
  readonly scratch: string
  readonly progress: (step: string) => OnProgress
}

/** Writes a store for each region with content of the image. The same image and key give the same bytes. */
export function writeStores(input: StoresInput): WrittenStores {
  const { image, regions, scratch } = input
  const fds: number[] = []
  let key: Uint8Array | undefined
  const stores = regions.filter(isImageRegion).map((region): WrittenStore => {
    const content = regionTree(image, region, regions)
    refuseUnfit(region.path, content)
    const directory = join(scratch, `store-${region.store}`)
    const encrypted = region.protection === "encrypted"
    if (encrypted) key ??= input.key()
    const { tag } = writeOnce({
      directory,
      key: encrypted ? key : undefined,
      name: region.store,
      tree: content,
      onProgress: input.progress(
        `${region.protection === "encrypted" ? "encrypting" : "storing"} ${region.path}`,
      ),
    })
    const files = filesOf(directory, fds)
    return { region, tag: toHex(tag), files, content, ...extentOf(content) }
  })
  const close = () => {
    for (const fd of fds.splice(0)) closeSync(fd)
  }
  return { stores, close }
}

/** What the ephemeral layer over the region would take for its own marks. */
function refuseUnfit(at: string, content: DirectoryNode): void {
  for (const { path, node } of walk(content)) {
    const isWhiteout = node.kind === "character" && node.major === 0 && node.minor === 0
    const mark = node.meta.xattrs.find(({ name }) => /^(trusted|user)\.overlay\./.test(name))
    if (!isWhiteout && mark === undefined) continue
    const found = isWhiteout ? "a character device 0:0" : `the attribute ${mark?.name ?? ""}`
    throw new CofferError(
      "config",
      `${at}${displayName(path)}: wanted nothing that overlayfs would interpret, found ${found}`,
    )
  }
}

export function isImageRegion(region: Region): region is ImageRegion {
  return region.kind === "image"
}

function extentOf(content: DirectoryNode): { readonly fileCount: number; readonly size: number } {
  const files = new Set<TreeNode>()
  let size = 0
  for (const { node } of walk(content)) {
    if (node.kind !== "file" || files.has(node)) continue
    files.add(node)
    size += node.content.size
  }
  return { fileCount: files.size, size }
}

/** What a reader needs of a store's directory; the writer's lock is not of it. */
function filesOf(directory: string, fds: number[]): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const segments = readdirSync(join(directory, "segments")).map((name) => `segments/${name}`)
  for (const name of ["header", ...segments]) {
    const fd = openSync(join(directory, name), "r")
    fds.push(fd)
    tree.put(utf8OfByteString(name), {
      kind: "file",
      meta: { ...plainDirectory, mode: 0o444 },
      content: contentOfFd(fd, fstatSync(fd).size),
    })
  }
  return tree.finish()
}

/** Store by store, for the image. */
export function storeFiles(stores: readonly WrittenStore[]): StoredRegion[] {
  return stores.map(({ region, files }) => ({ name: region.store, files }))
}

/** Files of encrypted regions that can be read elsewhere too: hard links from a measured place. */
export function leakWarnings(stores: readonly WrittenStore[], measured: DirectoryNode): string[] {
  const encrypted = stores.filter(({ region }) => region.protection === "encrypted")
  const secret = new Map<TreeNode, string>(
    encrypted.flatMap(({ region, content }) =>
      [...walk(content)]
        .filter(({ node }) => node.kind === "file")
        .map(({ node }): [TreeNode, string] => [node, region.path]),
    ),
  )
  if (secret.size === 0) return []
  return [...walk(measured)].flatMap(({ path, node }) => {
    const region = secret.get(node)
    if (region === undefined) return []
    return [
      `${path} is a hard link to a file in ${region}: there it is measured, and not encrypted`,
    ]
  })
}

/** No two regions may have one store; a name comes from the path, and `/a/b` and `/a-b` give the same. */
export function requireOwnStores(regions: readonly Region[]): void {
  const seen = new Map<string, string>()
  for (const { store, path } of regions.filter(isImageRegion)) {
    const other = seen.get(store)
    if (other !== undefined)
      throw new CofferError(
        "config",
        `regions: wanted paths that give different names of stores, found ${other} and ${path}`,
        { hint: "give one of them another path" },
      )
    seen.set(store, path)
  }
}
