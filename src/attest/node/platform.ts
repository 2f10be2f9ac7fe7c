import type { KeyObject } from "node:crypto"
import { open } from "node:fs/promises"
import { join } from "node:path"
import { toHex } from "../../bytes/index.ts"
import { sha384 } from "../../crypto/index.ts"
import { type Certificate, parseCertificate } from "../../der/index.ts"
import { CofferError, fromSystem } from "../../errors.ts"
import { parseHclReport } from "../azure/evidence.ts"
import { platformBinding, tpmQualifyingData } from "../evidence/bindings.ts"
import type { NodeEvidence } from "../evidence/schema.ts"
import { simEvidence } from "../evidence/sim.ts"
import { certificateTable } from "../snp/certificate-table.ts"
import { snpCertificatesFor } from "../snp/verify.ts"
import { selectionsOf, type Tpm } from "../tpm2/tpm.ts"
import { requestTsmReport, type TsmFiles } from "./tsm.ts"

/** The machine under a node agent, as far as it can prove itself. */
export interface Platform {
  readonly type: NodeEvidence["type"]
  /** Evidence that binds `nodeKey` (Ed25519, 32 bytes) to `nonce` (32 bytes). */
  evidence(nonce: Uint8Array, nodeKey: Uint8Array): Promise<NodeEvidence>
  /**
   * Puts MrEnclave (32 bytes) into a register that only grows, before the enclave starts. On machines without such a
   * register this does nothing: there the measured guest image vouches for the agent, and the agent for the enclave.
   */
  extend(mrEnclave: Uint8Array): Promise<void>
}

/** No hardware: a software key. Every report of it says so. */
export function simPlatform(key: KeyObject): Platform {
  return {
    type: "insecure-sim",
    evidence: (nonce, nodeKey) => Promise.resolve(simEvidence(key, nonce, nodeKey)),
    extend: () => Promise.resolve(),
  }
}

/** A TDX guest: quotes through configfs-tsm, MrEnclave into RTMR3. */
export function tdxPlatform(files: TsmFiles, measurements = tdxMeasurements): Platform {
  return {
    type: "tdx",
    async evidence(nonce, nodeKey) {
      const { provider, outblob } = await requestTsmReport(files, platformBinding(nonce, nodeKey))
      requireProvider(provider, "tdx_guest")
      return { type: "tdx", nonce: toHex(nonce), nodeKey: toHex(nodeKey), quote: toHex(outblob) }
    },
    extend: (mrEnclave) => extendRtmr(3, sha384(mrEnclave), measurements),
  }
}

/**
 * An SNP guest: reports through configfs-tsm. It has no register that a guest can extend. Hosts may give the certificates
 * of their chip's key with the report, and others; where they do not, the operator has got them: `certificates`.
 */
export function snpPlatform(
  files: TsmFiles,
  certificates: () => readonly Certificate[] = () => [],
): Platform {
  return {
    type: "sev-snp",
    async evidence(nonce, nodeKey) {
      const binding = platformBinding(nonce, nodeKey)
      const { provider, outblob, auxblob } = await requestTsmReport(files, binding)
      requireProvider(provider, "sev_guest")
      const table = auxblob.length === 0 ? [] : (certificateTable(auxblob) ?? [])
      const given = table.map((der) => parseCertificate(der, "the host's certificate table"))
      const chain = snpCertificatesFor(outblob, [...given, ...certificates()])
      return {
        type: "sev-snp",
        nonce: toHex(nonce),
        nodeKey: toHex(nodeKey),
        report: toHex(outblob),
        certificates: chain.map(toHex),
      }
    },
    extend: () => Promise.resolve(),
  }
}

/** Which PCRs a TPM platform quotes by default: firmware, boot loader, kernel and its command line, and MrEnclave's. */
export const defaultPcrs: readonly string[] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 15].map(
  (index) => `sha256:${index}`,
)

/** The PCR that MrEnclave goes into: it cannot be reset before the next boot. */
export const enclavePcr = 15

/** A machine with a TPM 2.0. The caller opens and closes `tpm`. */
export function tpmPlatform(tpm: Tpm, pcrs: readonly string[] = defaultPcrs): Platform {
  const selections = selectionsOf(pcrs)
  return {
    type: "tpm2",
    async evidence(nonce, nodeKey) {
      const ak = await tpm.createAttestationKey()
      try {
        const qualifying = tpmQualifyingData(platformBinding(nonce, nodeKey))
        const { message, signature } = await tpm.quote(ak, qualifying, selections)
        return {
          type: "tpm2",
          nonce: toHex(nonce),
          nodeKey: toHex(nodeKey),
          message: toHex(message),
          signature: toHex(signature),
          ak: toHex(ak.publicArea),
          pcrs: { ...(await tpm.readPcrs(selections)) },
        }
      } finally {
        await tpm.flush(ak.handle)
      }
    },
    extend: (mrEnclave) => tpm.extendPcr(enclavePcr, "sha256", mrEnclave),
  }
}

/** Where Azure's paravisor has its report, and the attestation key that this names. */
const azureReportIndex = 0x01400001
const azureReportSize = 2600
const azureKey = 0x81000003

/** An Azure confidential VM of SEV-SNP. `certificates`: the VCEK and its issuer among others; Azure serves them to its guests. */
export function azurePlatform(
  tpm: Tpm,
  certificates: () => readonly Certificate[],
  pcrs: readonly string[] = defaultPcrs,
): Platform {
  const selections = selectionsOf(pcrs)
  return {
    type: "azure",
    async evidence(nonce, nodeKey) {
      const report = await tpm.readNv(azureReportIndex, azureReportSize)
      const { tee, hardwareReport } = parseHclReport(report)
      if (tee !== "sev-snp")
        throw new CofferError(
          "missing",
          `platform azure: wanted an SEV-SNP machine, found ${tee}`,
          {
            hint: "its quote comes from a service of the host, which this version does not ask",
          },
        )
      const qualifying = tpmQualifyingData(platformBinding(nonce, nodeKey))
      const { message, signature } = await tpm.quote({ handle: azureKey }, qualifying, selections)
      return {
        type: "azure",
        nonce: toHex(nonce),
        nodeKey: toHex(nodeKey),
        hcl: toHex(report),
        message: toHex(message),
        signature: toHex(signature),
        pcrs: { ...(await tpm.readPcrs(selections)) },
        certificates: snpCertificatesFor(hardwareReport, certificates()).map(toHex),
      }
    },
    extend: (mrEnclave) => tpm.extendPcr(enclavePcr, "sha256", mrEnclave),
  }
}

function requireProvider(found: string, wanted: string): void {
  if (found !== wanted)
    throw new CofferError("config", `platform: wanted the provider ${wanted}, found ${found}`)
}

const tdxMeasurements = "/sys/devices/virtual/misc/tdx_guest/measurements"

/** Extends a runtime measurement register: SHA-384(old ‖ digest). Linux 6.16 and later. */
async function extendRtmr(index: number, digest: Uint8Array, folder: string): Promise<void> {
  const path = join(folder, `rtmr${index}:sha384`)
  try {
    // One write of 48 bytes at offset 0 is one extension; nothing else may be written.
    const file = await open(path, "r+")
    try {
      await file.write(digest, 0, digest.length, 0)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw fromSystem(error, path, "extending an RTMR needs Linux 6.16 or later in a TDX guest")
  }
}
