import type { PlatformClaims } from "../../src/attest/index.ts"

/** Verified claims of each kind of machine, for tests of what a policy accepts. */

export const claimsHex = (size: number, digit = "a"): string => digit.repeat(size * 2)

const hex = claimsHex

const dcap = {
  fmspc: hex(6),
  tcb: {
    status: "SWHardeningNeeded",
    advisories: ["INTEL-SA-00615"],
    date: 1,
    evaluationNumber: 17,
    validUntil: 9,
    issuedAt: 5,
  },
  revocationChecked: true,
  crls: [],
  checks: [],
} as const

export const tdx: Extract<PlatformClaims, { type: "tdx" }> = {
  ...dcap,
  type: "tdx",
  mrTd: hex(48),
  mrSeam: hex(48, "0"),
  rtmrs: [hex(48, "0"), hex(48, "1"), hex(48, "2"), hex(48, "3")],
  mrConfigId: hex(48, "4"),
  mrOwner: hex(48, "5"),
  mrOwnerConfig: hex(48, "6"),
  mrServiceTd: undefined,
  teeTcbSvn: hex(16, "0"),
  attributes: "0000001000000000",
  xfam: hex(8, "0"),
  debug: false,
  reportData: hex(64),
}

export const snp: Extract<PlatformClaims, { type: "sev-snp" }> = {
  type: "sev-snp",
  product: "Milan",
  signer: "vcek",
  measurement: hex(48),
  hostData: hex(32, "1"),
  idKeyDigest: hex(48, "2"),
  authorKeyDigest: hex(48, "3"),
  reportId: hex(32),
  chipId: hex(64, "4"),
  familyId: hex(16),
  imageId: hex(16),
  guestSvn: 3,
  vmpl: 1,
  policy: {
    abiMajor: 0,
    abiMinor: 0,
    smt: true,
    migrationAgent: false,
    debug: false,
    singleSocket: false,
  },
  platformInfo: 0,
  reportedTcb: { bootloader: 3, tee: 1, snp: 20, microcode: 200 },
  committedTcb: { bootloader: 3, tee: 1, snp: 20, microcode: 200 },
  launchTcb: { bootloader: 3, tee: 1, snp: 20, microcode: 200 },
  reportData: hex(64),
  revocationChecked: true,
  crls: [],
  checks: [],
}

export const tpm: Extract<PlatformClaims, { type: "tpm2" }> = {
  type: "tpm2",
  akName: `000b${hex(32)}`,
  akKey: hex(32),
  akRestricted: true,
  signatureHash: "sha256",
  selection: ["sha256:11"],
  pcrs: { "sha256:11": hex(32, "1") },
  pcrDigest: hex(32),
  extraData: hex(32),
  clock: "1",
  resetCount: 1,
  restartCount: 1,
  firmwareVersion: "01",
  checks: [],
}
