import type { KeyObject } from "node:crypto"
import { canonicalJson, toHex } from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import type { EnclaveClaims } from "../claims.ts"
import { type ReleaseBinding, releaseReportData } from "./bindings.ts"
import { signReport } from "./report.ts"
import type { Evidence, NodeEvidence } from "./schema.ts"

/** The node agent's last step: evidence that asks `binding.casKey` for the keys of `binding.policyName`. */
export function makeEvidence(
  platform: NodeEvidence,
  enclave: EnclaveClaims,
  nodeKey: KeyObject,
  binding: ReleaseBinding,
): Evidence {
  const reportData = releaseReportData(binding)
  const { body, signature } = signReport("release", { enclave, reportData }, nodeKey)
  return {
    version: 1,
    platform,
    report: { body: toHex(body), signature: toHex(signature) },
    ephemeralKey: toHex(binding.ephemeralKey),
  }
}

/** SHA-256 over the platform evidence as canonical JSON: the key under which a verified platform may be kept. 32 bytes. */
export function platformDigest(platform: NodeEvidence): Uint8Array {
  return sha256(canonicalJson(platform))
}
