import { openBinfs } from "../binfs/index.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import type { DirectoryNode } from "../tree/index.ts"
import { type ByteSource, VerifiedSource } from "../verity/index.ts"

/** The image in a sealed binary: each block is verified against the measured root hash on every read. */
export function openImage(source: ByteSource, manifest: MeasuredManifest): VerifiedSource {
  const { binfs, verity } = manifest
  return new VerifiedSource(source, {
    dataOffset: binfs.offset,
    dataSize: binfs.size,
    hashOffset: verity.offset,
    rootHash: Uint8Array.fromHex(verity.rootHash),
  })
}

/** The files in a sealed binary. Lazy: `source` must stay open. */
export function openTree(source: ByteSource, manifest: MeasuredManifest): DirectoryNode {
  return openBinfs(openImage(source, manifest)).root
}
