import type { ByteString } from "../bytes/index.ts"
import type { LeafNode, Metadata, TreeBuilder } from "../tree/index.ts"

/**
 * One member of a tar. Paths are names joined by slashes, with no slash at either end; the root's is empty. They are
 * checked by the builder: until then they may hold anything.
 */
export type TarEntry =
  | { readonly kind: "directory"; readonly path: ByteString; readonly meta: Metadata }
  | { readonly kind: "leaf"; readonly path: ByteString; readonly node: LeafNode }
  /** A hard link to what an earlier entry put at `target`. */
  | { readonly kind: "link"; readonly path: ByteString; readonly target: ByteString }

/** Adds an entry to a tree; the builder's options decide about duplicates and symlinks on the way. */
export function putTarEntry(tree: TreeBuilder, entry: TarEntry): void {
  switch (entry.kind) {
    case "directory":
      tree.putDirectory(entry.path, entry.meta)
      break
    case "leaf":
      tree.put(entry.path, entry.node)
      break
    case "link":
      tree.link(entry.path, entry.target)
      break
  }
}
