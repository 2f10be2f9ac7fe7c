/** One thing that `verify` found to hold, by its stable name; `note` says what a reader must know beside it. */
export interface Check {
  readonly name: string
  readonly note?: string
}

/** Intel's words; `TDRelaunchAdvised*`: the machine is current, this guest was started before that. */
export const tcbStatuses = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "TDRelaunchAdvised",
  "TDRelaunchAdvisedConfigurationNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const

export type TcbStatus = (typeof tcbStatuses)[number]

/** What Intel's collateral says about the machine behind a quote. */
export interface TcbClaims {
  readonly status: TcbStatus
  /** Sorted, no two equal. */
  readonly advisories: readonly string[]
  /** When the level that matched was published, unix seconds. */
  readonly date: number
  /** The least `tcbEvaluationDataNumber` of TCB info and QE identity. */
  readonly evaluationNumber: number
  /** The earliest `nextUpdate` of all that was used, unix seconds. */
  readonly validUntil: number
  /** The highest issue time seen in signed collateral, unix seconds: time cannot be before it. */
  readonly issuedAt: number
}

/** A list of revoked certificates that was checked: its issuer may not show an older one later. */
export interface CrlClaims {
  /** SHA-256 over the issuer's SubjectPublicKeyInfo, hex. */
  readonly issuer: string
  /** Lower-case hex; undefined when the list has none. */
  readonly number: string | undefined
  /** Unix seconds. */
  readonly thisUpdate: number
}

export interface DcapClaims {
  /** Lower-case hex, 6 bytes. */
  readonly fmspc: string
  /** Undefined when no collateral was given: the signature holds, and nothing is known about the machine's state. */
  readonly tcb: TcbClaims | undefined
  /** True when the CRLs of the root and of the PCK CA were both there and checked. */
  readonly revocationChecked: boolean
  readonly crls: readonly CrlClaims[]
}

/** All byte values are lower-case hex. */
export interface SgxClaims extends DcapClaims {
  readonly type: "sgx"
  readonly mrEnclave: string
  readonly mrSigner: string
  readonly productId: number
  readonly svn: number
  readonly debug: boolean
  readonly attributes: string
  readonly reportData: string
  readonly checks: readonly Check[]
}

export interface TdxClaims extends DcapClaims {
  readonly type: "tdx"
  readonly mrTd: string
  readonly mrSeam: string
  readonly rtmrs: readonly [string, string, string, string]
  readonly mrConfigId: string
  readonly mrOwner: string
  readonly mrOwnerConfig: string
  /** TD 1.5 only. */
  readonly mrServiceTd: string | undefined
  readonly teeTcbSvn: string
  readonly attributes: string
  readonly xfam: string
  readonly debug: boolean
  readonly reportData: string
  readonly checks: readonly Check[]
}

export const snpProducts = ["Milan", "Genoa", "Turin"] as const
export type SnpProduct = (typeof snpProducts)[number]

/** Security versions of the parts of an AMD platform; `fmc` is there on Turin only. */
export interface SnpTcb {
  readonly bootloader: number
  readonly tee: number
  readonly snp: number
  readonly microcode: number
  readonly fmc?: number
}

export interface SnpPolicyBits {
  readonly abiMajor: number
  readonly abiMinor: number
  readonly smt: boolean
  readonly migrationAgent: boolean
  readonly debug: boolean
  readonly singleSocket: boolean
}

export interface SnpClaims {
  readonly type: "sev-snp"
  readonly product: SnpProduct
  readonly signer: "vcek" | "vlek"
  readonly measurement: string
  readonly hostData: string
  readonly idKeyDigest: string
  readonly authorKeyDigest: string
  readonly reportId: string
  readonly chipId: string
  readonly familyId: string
  readonly imageId: string
  readonly guestSvn: number
  readonly vmpl: number
  readonly policy: SnpPolicyBits
  readonly platformInfo: number
  readonly reportedTcb: SnpTcb
  readonly committedTcb: SnpTcb
  readonly launchTcb: SnpTcb
  readonly reportData: string
  /** True when a CRL of the product's root was there and checked. */
  readonly revocationChecked: boolean
  readonly crls: readonly CrlClaims[]
  readonly checks: readonly Check[]
}

export type TpmHash = "sha1" | "sha256" | "sha384" | "sha512"

export interface Tpm2Claims {
  readonly type: "tpm2"
  /** The TPM Name of the attestation key: `000b` and SHA-256 over its public area. Empty when only a plain public key is known. */
  readonly akName: string
  /** SHA-256 over the key's SubjectPublicKeyInfo. */
  readonly akKey: string
  /** False when only a plain public key is known; else the public area shows a restricted signing key that was made in its TPM and cannot leave it. */
  readonly akRestricted: boolean
  readonly signatureHash: TpmHash
  /** What was quoted, and the values where they came along and agree with the digest: `sha256:16` to hex. */
  readonly selection: readonly string[]
  readonly pcrs: Readonly<Record<string, string>>
  readonly pcrDigest: string
  readonly extraData: string
  readonly clock: string
  readonly resetCount: number
  readonly restartCount: number
  readonly firmwareVersion: string
  readonly checks: readonly Check[]
}

/** The Azure composite: the hardware's report binds the vTPM's key, the vTPM's quote binds nonce and PCRs. */
export interface AzureClaims {
  readonly type: "azure"
  readonly hardware: SnpClaims | TdxClaims
  readonly tpm: Tpm2Claims
  readonly checks: readonly Check[]
}

/** No hardware at all: a software key signed. For development only. */
export interface SimClaims {
  readonly type: "insecure-sim"
  /** The software key's public part, 32 bytes hex. */
  readonly key: string
  readonly checks: readonly Check[]
}

export type PlatformClaims =
  | SimClaims
  | Tpm2Claims
  | TdxClaims
  | SnpClaims
  | SgxClaims
  | AzureClaims

export type PlatformType = PlatformClaims["type"]

/** What the node agent vouches for: an enclave that it built itself. */
export interface EnclaveClaims {
  /** 32 bytes hex. */
  readonly mrEnclave: string
  /** 32 bytes hex; undefined when the sealed binary is not signed. */
  readonly mrSigner: string | undefined
  readonly productId: number
  readonly svn: number
  readonly debug: boolean
  /** True where the container engine's host root is inside the trust (no measured guest profile). */
  readonly engineTrusted: boolean
  readonly runtimeVersion: readonly [major: number, minor: number, patch: number]
}

export interface EvidenceClaims {
  readonly platform: PlatformClaims
  /** The node agent's Ed25519 public key, 32 bytes hex; empty for `sgx`, where the enclave speaks for itself. */
  readonly nodeKey: string
  readonly enclave: EnclaveClaims
  /** The enclave's X25519 public key: answers are encrypted to it. 32 bytes. */
  readonly ephemeralKey: Uint8Array
}
