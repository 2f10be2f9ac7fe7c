/**
 * Protect: a container image in, a protected image out.
 *
 * Spec: `spec/protected-image.md`. Promises: the same image and the same `coffer.yaml` give the same MrEnclave and the
 * same image digest; nothing of the source image touches the host's filesystem but as unnamed temporary bytes; a target
 * is written whole or not at all.
 */
export { annotationKeys, type StoredRegion } from "./image.ts"
export { type Coverage, type FileSum, minimise } from "./minimise.ts"
export { imageKeySecret, policySkeleton } from "./policy-skeleton.ts"
export { type ProtectInput, type ProtectResult, protectImage } from "./protect.ts"
export { openService, storesOf } from "./resolve.ts"
export { signImage } from "./sign-image.ts"
export type { RegionStore, WrittenStore } from "./stores.ts"
