import { type DirectoryNode, TreeBuilder, type TreeBuilderOptions } from "../tree/index.ts"
import { putTarEntry } from "./entry.ts"
import { readTar, type TarOptions } from "./reader.ts"
import type { TarSource } from "./source.ts"

/** How a builder must treat the entries of a dialect. */
export function builderOptions(dialect: "strict" | "layer"): TreeBuilderOptions {
  return dialect === "strict"
    ? { duplicates: "refuse", parentSymlinks: "refuse" }
    : { duplicates: "replace", parentSymlinks: "resolve" }
}

/**
 * The tree of one tar. Whiteouts are ordinary files here. Without an entry for the root, the root has mode 0755, owner
 * 0:0 and time 0. The content is read from `source` when it is asked for, so `source` must stay open and as it is.
 */
export function treeFromTar(source: TarSource, options: TarOptions = {}): DirectoryNode {
  const tree = new TreeBuilder(builderOptions(options.dialect ?? "strict"))
  for (const entry of readTar(source, options)) putTarEntry(tree, entry)
  return tree.finish()
}
