/**
 * OCI images: layouts, archives, docker archives; manifests, layers, blobs.
 *
 * Spec: OCI image-spec v1.1, Docker image manifest v2 schema 2, the tar format of `docker save`.
 * Promises: the image comes from the adversary, so no byte of a blob is used before its digest and size are checked;
 * decompression is bounded; layers are applied in memory, and nothing of them touches the host's filesystem; what is
 * written is a function of the image alone, beside its place first, synced and renamed.
 */

export { type Descriptor, type ImageConfig, type ImageManifest, mediaTypes } from "./documents.ts"
export { type ImageTree, imageTree } from "./image-tree.ts"
export type { Layer, Platform, SourceImage } from "./layout.ts"
export { type BlobSink, LayoutWriter } from "./layout-writer.ts"
export { type OpenOptions, openImage } from "./open.ts"
export { type ImageReference, parseImageReference } from "./reference.ts"
export { skopeoCopy } from "./skopeo.ts"
export { compressionOfBytes, spool } from "./spool.ts"
