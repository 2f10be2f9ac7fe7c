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
  for (const { path } of readTar(layer, { dialect: "layer" })) {
    const { directory, name } = split(path)
    if (name === opaqueName) tree.clear(directory)
    else if (name.startsWith(whiteoutPrefix) && !name.startsWith(reservedPrefix)) {
      tree.remove(hiddenPath(path, directory, name))
    }
  }
  for (const entry of readTar(layer, { dialect: "layer" })) {
    if (!isWhiteout(entry)) putTarEntry(tree, entry)
  }
  return tree.finish()
}

// What aufs kept beside the files (`.wh..wh.plnk/…`) is no file of the image either.
function isWhiteout({ path }: TarEntry): boolean {
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
