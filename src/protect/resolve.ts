import type { ByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { type ImageReference, imageTree, openImage, type SourceImage } from "../oci/index.ts"
import { sealedPath, storesPath } from "../seal/index.ts"
import {
  type Content,
  type DirectoryNode,
  type OnProgress,
  sortedChildren,
  type TreeNode,
} from "../tree/index.ts"
import type { StoredRegion } from "./image.ts"
import { hostPlatform } from "./platform.ts"

/** The sealed binary of a protected image, where it lies. Good until `close`. */
export interface ServiceInImage {
  readonly image: SourceImage
  readonly sealed: Content
  readonly stores: readonly StoredRegion[]
  close(): void
}

/**
 * Opens a protected image, wherever it is. The digests of its layers are checked; the sealed binary is not copied when its
 * layer is a plain tar, as `protect` writes it: its reader measures the head, and verity verifies the rest on every read.
 */
export async function openService(
  reference: ImageReference,
  input: AsyncIterable<Uint8Array>,
  onProgress: OnProgress,
): Promise<ServiceInImage> {
  const image = await openImage(reference, { platform: hostPlatform(), input })
  try {
    const tree = await imageTree(image, onProgress, { inPlace: true })
    const close = (): void => {
      tree.close()
      image.close()
    }
    const found = nodeAt(tree.root, sealedPath)
    if (found?.kind === "file")
      return { image, sealed: found.content, stores: storesOf(tree.root), close }
    tree.close()
    throw notProtected()
  } catch (error) {
    image.close()
    throw error
  }
}

/** The stores of the image's regions; what they hold is verified when it is read. */
export function storesOf(root: DirectoryNode): StoredRegion[] {
  const found = nodeAt(root, storesPath)
  if (found?.kind !== "directory") return []
  return sortedChildren(found).flatMap(([name, files]) =>
    files.kind === "directory" ? [{ name, files }] : [],
  )
}

// As the runtime: a symlink on the way is not followed.
function nodeAt(root: DirectoryNode, path: string): TreeNode | undefined {
  let node: TreeNode | undefined = root
  for (const name of path.split("/").slice(1))
    node = node?.kind === "directory" ? node.children.get(name as ByteString) : undefined
  return node
}

function notProtected(): CofferError {
  return new CofferError("config", `wanted a protected image, found no ${sealedPath} in it`, {
    reason: "not-protected",
    hint: "make one with: coffer protect IMAGE IMAGE-protected",
  })
}
