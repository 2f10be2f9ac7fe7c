// Hot path: one turn for each member of a layer.
import type { ByteString } from "../bytes/index.ts"
import {
  builderOptions,
  putTarEntry,
  readTar,
  type TarEntry,
  type TarSource,
} from "../tar/index.ts"
import { badPath, type DirectoryNode, TreeAllowance, TreeBuilder } from "../tree/index.ts"

const whiteoutPrefix = ".wh."
const reservedPrefix = ".wh..wh."
const opaqueName = ".wh..wh..opq"

/**
 * The tree of `base` with one layer over it, as the OCI image-spec ("Applying changesets") says. A whiteout hides what
 * lower layers have, never what its own layer has, wherever it stands in the tar: so all whiteouts are applied first.
 * The layer comes from the adversary, but its tree is only in our memory: no path of it reaches the host's filesystem.
 */
export function applyLayer(
  base: DirectoryNode | undefined,
  layer: TarSource,
  allowance: TreeAllowance = new TreeAllowance(),
): DirectoryNode {
  const tree = new TreeBuilder({ ...builderOptions("layer"), allowance }, base)
  if (base !== undefined)
    for (const { path } of readTar(layer, { dialect: "layer" })) applyWhiteout(tree, path)
  // The first layer hides nothing, but its whiteouts must be right too.
  const nothing = base === undefined ? new TreeBuilder(builderOptions("layer")) : undefined
  for (const entry of readTar(layer, { dialect: "layer" })) {
    if (!isWhiteout(entry)) putTarEntry(tree, entry)
    else if (nothing !== undefined) applyWhiteout(nothing, entry.path)
  }
  return tree.finish()
}

function applyWhiteout(tree: TreeBuilder, path: ByteString): void {
  const { directory, name } = split(path)
  if (name === opaqueName) tree.clear(directory)
  else if (name.startsWith(whiteoutPrefix) && !name.startsWith(reservedPrefix)) {
    tree.remove(hiddenPath(path, directory, name))
  }
}

// What aufs kept beside the files (`.wh..wh.plnk/…`) is no file of the image either.
function isWhiteout({ path }: TarEntry): boolean {
  if (!path.includes(whiteoutPrefix)) return false
  return split(path).name.startsWith(whiteoutPrefix) || /(^|\/)\.wh\.\.wh\./.test(path)
}

function split(path: ByteString): { directory: ByteString; name: string } {
  const slash = path.lastIndexOf("/")
  return { directory: path.slice(0, Math.max(0, slash)) as ByteString, name: path.slice(slash + 1) }
}

function hiddenPath(path: ByteString, directory: ByteString, name: string): ByteString {
  const hidden = name.slice(whiteoutPrefix.length)
  if (hidden === "" || hidden === "." || hidden === "..") {
    throw badPath(path, "bad-name", "a whiteout that names a file", "one that names none")
  }
  return (directory === "" ? hidden : `${directory}/${hidden}`) as ByteString
}
