import type { KeyObject } from "node:crypto"
import {
  azurePlatform,
  loadCollateral,
  type Platform,
  simPlatform,
  snpPlatform,
  Tpm,
  type TsmFiles,
  tdxPlatform,
  tpmPlatform,
  tsmFiles,
} from "../attest/index.ts"
import { connectNode } from "./client.ts"
import type { NodeConfig } from "./config.ts"
import { type NodeKeys, nodeKeys } from "./keys.ts"
import { Measurements } from "./measurements.ts"
import { type Node, Voucher } from "./node.ts"

/** Where a node keeps what ends with the boot: its key, and the list of what it measured. */
const defaultStateDirectory = "/run/coffer"

export interface VoucherSetup {
  readonly directory?: string
  /** For tests: in the place of the kernel's configfs. */
  readonly tsm?: TsmFiles
}

interface OpenVoucher {
  readonly voucher: Voucher
  readonly measurements: Measurements
  readonly keys: NodeKeys
}

export function openVoucher(config: NodeConfig, setup: VoucherSetup): OpenVoucher {
  const { directory = defaultStateDirectory } = setup
  const keys = nodeKeys(directory)
  const measurements = new Measurements(directory)
  const voucher = new Voucher({
    platform: platformOf(config, keys.sim, setup.tsm ?? tsmFiles()),
    nodeKey: keys.node,
    engineTrusted: config.engine === "trusted",
    measurements,
  })
  return { voucher, measurements, keys }
}

function platformOf(config: NodeConfig, simKey: KeyObject, tsm: TsmFiles): Platform {
  const { platform, collateral } = config
  // Read each time: the operator renews these files while the agent runs.
  const certificates = () =>
    collateral === undefined ? [] : loadCollateral([collateral]).certificates
  switch (platform.type) {
    case "insecure-sim":
      return simPlatform(simKey)
    case "tdx":
      return tdxPlatform(tsm)
    case "sev-snp":
      return snpPlatform(tsm, certificates)
    case "tpm2":
      return onDemand(platform, (tpm, pcrs) => tpmPlatform(tpm, pcrs))
    case "azure":
      return onDemand(platform, (tpm, pcrs) => azurePlatform(tpm, certificates, pcrs))
  }
}

/** Opened for each use: a TPM without a resource manager has one user at a time, and a software TPM may have been restarted. */
function onDemand(
  { type, device, pcrs: indices }: Extract<NodeConfig["platform"], { type: "tpm2" | "azure" }>,
  platformOn: (tpm: Tpm, pcrs: readonly string[]) => Platform,
): Platform {
  const pcrs = indices.map((index) => `sha256:${index}`)
  const using = async <T>(work: (platform: Platform) => Promise<T>): Promise<T> => {
    const tpm = await Tpm.open(device)
    try {
      return await work(platformOn(tpm, pcrs))
    } finally {
      await tpm.close()
    }
  }
  return {
    type,
    evidence: (nonce, nodeKey) => using((platform) => platform.evidence(nonce, nodeKey)),
    extend: (mrEnclave) => using((platform) => platform.extend(mrEnclave)),
  }
}

const builtIn = {
  version: 1,
  platform: { type: "insecure-sim" },
  engine: "trusted",
  socket: "",
  hooks: [],
} as const satisfies NodeConfig

/**
 * The node for the runtime: the agent that the configuration names, which must be running; without a configuration this
 * process itself, on the platform `insecure-sim`. Close it.
 */
export async function openNode(
  config: NodeConfig | undefined,
  setup: VoucherSetup = {},
): Promise<Node> {
  if (config !== undefined) return await connectNode(config.socket)
  const { voucher } = openVoucher(builtIn, setup)
  return {
    async enclave(sealed) {
      const claims = await voucher.measured(sealed)
      return {
        async evidence(binding, challenge) {
          const kept = await voucher.evidence(claims, binding, undefined)
          const made = kept ?? (await voucher.evidence(claims, binding, await challenge()))
          if (made === undefined) throw new TypeError("a challenge was given")
          return made
        },
      }
    },
    close: () => Promise.resolve(),
  }
}
