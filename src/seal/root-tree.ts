import { dirname } from "node:path/posix"
import { type ByteString, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { Region } from "../manifest/index.ts"
import {
  type DirectoryNode,
  emptyContent,
  type LeafNode,
  plainDirectory,
  TreeBuilder,
  walk,
} from "../tree/index.ts"

/** What the engine and the kernel mount; the runtime makes its own. */
const kernelMounts = ["/proc", "/sys", "/dev"]

/**
 * The image's tree as it goes into the binary filesystem: with a measured mount point for every region and for /proc,
 * /sys and /dev, which are empty, and without the content that goes into stores of its own.
 */
export function rootTree(image: DirectoryNode, regions: readonly Region[]): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "replace", parentSymlinks: "resolve" }, image)
  for (const path of kernelMounts) emptyDirectory(tree, utf8OfByteString(path))
  // Outer regions first: what they take out, a measured region or a seed inside puts back.
  for (const region of regions) {
    addMountPoint(tree, region.path, region)
    if (region.kind === "image") takeOut(tree, region.path)
    else if (isMeasured(region) && isInStore(region.path, regions)) putBack(tree, image, region)
  }
  return tree.finish()
}

function isMeasured(region: Region): boolean {
  return region.kind === "measured" || (region.kind === "volume" && region.seed)
}

function isInStore(path: string, regions: readonly Region[]): boolean {
  return regions.some((other) => other.kind === "image" && path.startsWith(`${other.path}/`))
}

/**
 * New content must not be another measurement, and whoever builds an image with it touches the directories around it: the
 * mount point and they keep owner and mode, but not the time.
 */
function takeOut(tree: TreeBuilder, path: string): void {
  tree.clear(utf8OfByteString(path))
  for (let at = path; ; at = dirname(at)) {
    const place = utf8OfByteString(at)
    const found = tree.get(place)
    if (found?.kind === "directory")
      tree.putDirectory(place, { ...found.meta, mtime: plainDirectory.mtime })
    if (at === "/") return
  }
}

function putBack(tree: TreeBuilder, image: DirectoryNode, region: Region): void {
  const at = utf8OfByteString(region.path)
  const found = contentAt(image, region.path)
  if (found === undefined) return
  for (const { path, node } of walk(found)) {
    const to = (path === "/" ? at : `${at}${path}`) as ByteString
    if (node.kind === "directory") tree.putDirectory(to, node.meta)
    else tree.put(to, node)
  }
}

function contentAt(image: DirectoryNode, path: string): DirectoryNode | undefined {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "resolve" }, image)
  const found = tree.get(utf8OfByteString(path))
  return found?.kind === "directory" ? found : undefined
}

/**
 * The content of one region of the image, as it goes into a store of its own: with a mount point for each region in it,
 * and without what is in those.
 */
export function regionTree(
  image: DirectoryNode,
  region: Region,
  regions: readonly Region[],
): DirectoryNode {
  const base = contentAt(image, region.path)
  if (base === undefined)
    throw new CofferError(
      "config",
      `regions: ${region.path}: wanted a directory of the image, whose content goes into the region, found none`,
      { hint: "a region that begins empty says so: content: empty, or its size" },
    )
  const tree = new TreeBuilder({ duplicates: "replace", parentSymlinks: "refuse" }, base)
  for (const inner of regions) {
    if (enclosing(inner.path, regions) !== region) continue
    const path = inner.path.slice(region.path.length)
    addMountPoint(tree, path, inner)
    tree.clear(utf8OfByteString(path))
  }
  return tree.finish()
}

/** The innermost region around a path, itself not counted. */
function enclosing(path: string, regions: readonly Region[]): Region | undefined {
  return regions
    .filter((region) => path.startsWith(`${region.path}/`))
    .toSorted((a, b) => b.path.length - a.path.length)[0]
}

function emptyDirectory(tree: TreeBuilder, path: ByteString): void {
  const found = tree.get(path)
  if (found !== undefined && found.kind !== "directory") tree.remove(path)
  tree.putDirectory(path, found?.kind === "directory" ? found.meta : plainDirectory)
  tree.clear(path)
}

function addMountPoint(tree: TreeBuilder, at: string, region: Region): void {
  const path = utf8OfByteString(at)
  const wantsFile = region.kind === "host" && region.format !== "directory"
  const found = tree.get(path)
  // A symlink in the image must not lead a mount elsewhere: the place itself becomes the mount point.
  if (found?.kind === "symlink" || (region.kind === "host" && found?.kind === "file"))
    tree.remove(path)
  else if (found !== undefined && (found.kind === "directory") === wantsFile) {
    const wanted = wantsFile ? "a file" : "a directory"
    throw new CofferError(
      "config",
      `regions: ${region.path}: wanted ${wanted} in the image, or nothing, found a ${found.kind}`,
    )
  }
  // Each its own: one node in several places is a hard link.
  if (wantsFile) tree.put(path, { ...mountPointFile })
  else if (tree.get(path) === undefined) tree.putDirectory(path, plainDirectory)
}

const mountPointFile: LeafNode = {
  kind: "file",
  meta: { ...plainDirectory, mode: 0o644 },
  content: emptyContent,
}
