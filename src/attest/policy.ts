import type { SnpProduct, SnpTcb, TcbStatus } from "./claims.ts"

/**
 * What a policy accepts of a platform: reference values, all lower-case hex. A list means "one of these". What is
 * undefined is not looked at; what would be unsafe not to look at is required.
 */
export type PlatformPolicy =
  | SimPolicy
  | Tpm2Policy
  | TdxPolicy
  | SnpPolicy
  | SgxPolicy
  | AzurePolicy

/** Must be named in a policy explicitly: there is no hardware behind it. */
export interface SimPolicy {
  readonly type: "insecure-sim"
  /** Software keys that are accepted; undefined: any. */
  readonly keys?: readonly string[]
}

export interface Tpm2Policy {
  readonly type: "tpm2"
  /** TPM Names of enrolled attestation keys: anybody can quote any PCR value with a software TPM. */
  readonly aks: readonly string[]
  /** `sha256:16` to the accepted values. SHA-1 banks are refused. */
  readonly pcrs: Readonly<Record<string, readonly string[]>>
  readonly minFirmware?: string
}

export interface DcapPolicy {
  readonly tcbStatuses: readonly TcbStatus[]
  /** Advisories that are tolerated; undefined: any that the status brings. */
  readonly advisories?: readonly string[]
  readonly minEvaluationNumber?: number
  /** Default true: a quote whose chain was not checked against CRLs is refused. */
  readonly requireRevocation?: boolean
}

export interface TdxPolicy extends DcapPolicy {
  readonly type: "tdx"
  readonly mrTd: readonly string[]
  /** By index "0" to "3". */
  readonly rtmrs?: Readonly<Record<string, readonly string[]>>
  readonly mrSeam?: readonly string[]
  readonly mrConfigId?: readonly string[]
  readonly mrOwner?: readonly string[]
  readonly mrOwnerConfig?: readonly string[]
  readonly insecureDebug?: boolean
}

export interface SgxPolicy extends DcapPolicy {
  readonly type: "sgx"
  readonly insecureDebug?: boolean
}

export interface SnpPolicy {
  readonly type: "sev-snp"
  readonly products?: readonly SnpProduct[]
  readonly measurements: readonly string[]
  readonly minTcb?: Partial<SnpTcb>
  readonly hostData?: readonly string[]
  readonly idKeyDigests?: readonly string[]
  readonly authorKeyDigests?: readonly string[]
  readonly chipIds?: readonly string[]
  readonly minGuestSvn?: number
  /** The highest accepted VMPL, default 0. */
  readonly maxVmpl?: number
  /** Default false: simultaneous multithreading must be off in the guest's policy. */
  readonly allowSmt?: boolean
  readonly allowMigrationAgent?: boolean
  readonly requireRevocation?: boolean
  readonly insecureDebug?: boolean
}

export interface AzurePolicy {
  readonly type: "azure"
  readonly hardware: SnpPolicy | TdxPolicy
  /** As in `Tpm2Policy`; the key is bound by the hardware, so none is enrolled. */
  readonly pcrs: Readonly<Record<string, readonly string[]>>
}
