/**
 * The runtime: enclaves from protected images, as an OCI runtime for container engines (`coffer-oci`) and alone
 * (`coffer run`).
 *
 * Spec: DESIGN.md section 9, docs/config-json.md. Promises: nothing of an image runs before it is measured; the bundle is
 * built from the measured manifest, and config.json, which comes from the adversary, chooses only what the table says;
 * no mount on the host; shield, monitor and container end together.
 */
export { type Bundle, type BundleInput, bundleFromManifest } from "./bundle.ts"
export { dataHome, directoriesOf } from "./directories.ts"
export { type Enclave, type EnclaveInput, startEnclave } from "./enclave.ts"
export { type EngineConfig, isSandbox, parseEngineConfig } from "./engine-config.ts"
export { fieldTreatments, type Treatment } from "./fields.ts"
export { type EnclaveStatus, listEnclaves } from "./place.ts"
export { RegionStores } from "./region-stores.ts"
export { type Running, type RunOptions, runAlone } from "./run-alone.ts"
export { type MeasuredFile, openSealed, withStores } from "./sealed-image.ts"
