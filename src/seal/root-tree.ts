import { type ByteString, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { Region } from "../manifest/index.ts"
import {
  type DirectoryNode,
  emptyContent,
  type LeafNode,
  plainDirectory,
  TreeBuilder,
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
  for (const region of regions) addMountPoint(tree, region)
  return tree.finish()
}

function emptyDirectory(tree: TreeBuilder, path: ByteString): void {
  const found = tree.get(path)
  if (found !== undefined && found.kind !== "directory") tree.remove(path)
  tree.putDirectory(path, found?.kind === "directory" ? found.meta : plainDirectory)
  tree.clear(path)
}

function addMountPoint(tree: TreeBuilder, region: Region): void {
  const path = utf8OfByteString(region.path)
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
