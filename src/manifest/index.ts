/**
 * Manifests: the measured description of a service, and `coffer.yaml`, from which it is made.
 *
 * Spec: `spec/manifest.md`. Promises: pure; a measured manifest has one form (canonical JSON), unknown fields are
 * refused; errors in `coffer.yaml` name file, line, column and field.
 */
export { compileManifest, type ServiceDefaults } from "./compile.ts"
export { diffJson, type FieldChange } from "./diff.ts"
export {
  type ManifestDraft,
  type MeasuredManifest,
  maxManifestSize,
  parseManifest,
  patternMatches,
  type Region,
  serialiseManifest,
} from "./measured.ts"
export { everythingMeasured, parseCofferYaml, type ServiceSource } from "./source.ts"
export { resolveUser } from "./user.ts"
export { manifestWarnings } from "./warnings.ts"
export { parseYaml } from "./yaml-document.ts"
