import { readFileSync, writeFileSync } from "node:fs"
import { Command, InvalidArgumentError, Option } from "commander"
import {
  attestationKeyName,
  type EvidenceType,
  evidenceTypes,
  type LooseClaims,
  loadCollateral,
  noCollateral,
  productionRoots,
  type Roots,
  readEndorsementCertificate,
  rootsFrom,
  Tpm,
  unhexed,
  verifyAny,
} from "../../attest/index.ts"
import { fromHex } from "../../bytes/index.ts"
import { formatPem } from "../../der/index.ts"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import { printCollateral, viewCollateral } from "../collateral-listing.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { enrolCommands } from "./attest-enrol.ts"

interface Options {
  readonly type?: EvidenceType
  readonly collateral: readonly string[]
  readonly now?: number
  readonly nonce?: Uint8Array
  readonly signature?: string
  readonly pcrs?: string
  readonly insecureRoot?: string
  readonly json?: true
}

const help = `
Verifies that a quote or report is genuine: signatures, chain to the vendor's pinned root, revocation, the platform's TCB.
It does not say whether you want such a platform: that is what a policy is for.

Collateral is files that you keep (nothing is fetched): Intel's TCB info, QE identity, CRLs and signer chains as PCS gives
them or in one JSON; AMD's VCEK or VLEK, ASK, ARK and CRL; a TPM's attestation key, which you trust by giving it.
Without TCB info or CRLs the signatures are still verified, and what was not checked is said.

Exit code: 0 genuine, 5 refused (the reason is named), 6 something needed is not there.

Examples:
  coffer attest verify quote.bin --collateral pcs/ --now 1752919234 --json
  coffer attest verify report.bin --type sev-snp --collateral certs/ --nonce 01020304
  coffer attest verify quote.msg --collateral ak.pem --nonce 00112233`

/** `coffer attest verify EVIDENCE`, `coffer attest collateral PATH`, `coffer attest ak`. */
export function attestCommand(io: Io): Command {
  const command = new Command("attest").description("verify attestation evidence")
  command
    .command("verify")
    .description("verify a TDX, SGX, SEV-SNP, TPM 2.0 or Azure quote")
    .argument(
      "<evidence>",
      "file with the quote or report (binary or hex), Azure's or our own JSON",
    )
    .addOption(
      new Option("--type <type>", "what it is (default: what it looks like)").choices(
        evidenceTypes,
      ),
    )
    .option("--collateral <path>", "file or folder with collateral (may be repeated)", collect, [])
    .option("--now <unix>", "time of the verification in unix seconds (default: now)", seconds)
    .option("--nonce <hex>", "what the report data or qualifying data must be", nonceBytes)
    .option("--signature <file>", "signature of a TPM quote (default: the quote's name with .sig)")
    .option("--pcrs <file>", "PCR values of tpm2_quote -o (default: the quote's name with .pcrs)")
    .option("--insecure-root <file>", "also trust this root certificate: for tests only")
    .option("--json", "print one JSON document")
    .addHelpText("after", help)
    .action((path: string, options: Options) => verify(path, options, io))
  command
    .command("collateral")
    .description("show what a folder of collateral holds, and what of it is stale")
    .argument("<path...>", "files and folders, as for --collateral")
    .option("--now <unix>", "time to judge by (default: now)", seconds)
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExample:\n  coffer attest collateral /var/lib/coffer/collateral")
    .action((paths: readonly string[], options: ListOptions) => list(paths, options, io))
  command
    .command("ak")
    .description("print the name of this machine's TPM attestation key, for a policy to enrol")
    .option("--tpm <address>", "/dev/…, unix:PATH or HOST:PORT of a software TPM", "/dev/tpmrm0")
    .option("--out <file>", "write the key's public area too (TPMT_PUBLIC)")
    .option("--ek <file>", "write the TPM's endorsement certificate too (PEM)")
    .addHelpText(
      "after",
      "\nRun it where you trust the machine: enrolling says that this TPM may speak. Elsewhere see: coffer attest challenge --help",
    )
    .action((options: AkOptions) => showAk(options, io))
  for (const enrol of enrolCommands(io)) command.addCommand(enrol)
  return command
}

interface ListOptions {
  readonly now?: number
  readonly json?: true
}

interface AkOptions {
  readonly tpm: string
  readonly out?: string
  readonly ek?: string
}

function list(paths: readonly string[], options: ListOptions, io: Io): void {
  const view = viewCollateral(paths, options.now ?? Math.floor(Date.now() / 1000))
  if (options.json === true) io.print(JSON.stringify(view))
  else printCollateral(view, io)
}

async function showAk(options: AkOptions, io: Io): Promise<void> {
  const tpm = await Tpm.open(options.tpm)
  try {
    const key = await tpm.createAttestationKey()
    await tpm.flush(key.handle)
    if (options.ek !== undefined)
      writeOut(options.ek, formatPem("CERTIFICATE", await readEndorsementCertificate(tpm)))
    if (options.out !== undefined) writeOut(options.out, key.publicArea)
    io.print(attestationKeyName(key.publicArea))
  } finally {
    await tpm.close()
  }
}

function writeOut(path: string, bytes: Uint8Array | string): void {
  try {
    writeFileSync(path, bytes, { flag: "wx" })
  } catch (error) {
    throw fromSystem(error, path)
  }
}

function collect(path: string, before: readonly string[]): readonly string[] {
  return [...before, path]
}

const seconds = wholeNumber(0, 999_999_999_999)

function nonceBytes(text: string): Uint8Array {
  const bytes = fromHex(text)
  if (bytes === undefined || bytes.length > 64)
    throw new InvalidArgumentError("wanted at most 64 bytes in hex")
  return bytes
}

function verify(path: string, options: Options, io: Io): void {
  const roots = rootsOf(options, io)
  const collateral =
    options.collateral.length === 0 ? noCollateral : loadCollateral(options.collateral)
  const beside = (extension: string) => path.replace(/\.[^./]*$/, "") + extension
  const evidence = {
    bytes: unhexed(read(path)),
    type: options.type,
    signature:
      options.signature === undefined ? readIfThere(beside(".sig")) : read(options.signature),
    pcrs: options.pcrs === undefined ? readIfThere(beside(".pcrs")) : read(options.pcrs),
  }
  const now = options.now ?? Math.floor(Date.now() / 1000)
  const claims = verifyAny(evidence, { collateral, roots, now, nonce: options.nonce })
  print(claims, now, options, io)
}

function rootsOf(options: Options, io: Io): Roots {
  if (options.insecureRoot === undefined) return productionRoots
  io.warn("coffer: warning: --insecure-root is trusted beside the vendors' roots: for tests only")
  return rootsFrom(read(options.insecureRoot), options.insecureRoot)
}

const evidenceMax = 1024 * 1024

function read(path: string): Uint8Array {
  try {
    const bytes = readFileSync(path)
    if (bytes.length <= evidenceMax) return bytes
    throw new CofferError("config", `${path}: wanted at most 1 MiB, found ${bytes.length} bytes`)
  } catch (error) {
    throw fromSystem(error, path)
  }
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if (isErrno(error, "ENOENT", "EISDIR", "ENOTDIR")) return undefined
    throw fromSystem(error, path)
  }
}

interface Verdict {
  readonly line: string
  /** Intel's word for the platform; null where there is none. */
  readonly tcbStatus: string | null
  readonly advisories: readonly string[]
  readonly warnings: readonly string[]
}

function verdictOf(claims: LooseClaims): Verdict {
  const none = { tcbStatus: null, advisories: [] }
  switch (claims.type) {
    case "tdx":
    case "sgx": {
      const { tcb } = claims
      const name = claims.type.toUpperCase()
      const warnings = [
        ...(claims.debug ? ["debug is on: its memory can be read and changed from outside"] : []),
        ...(tcb === undefined ? ["the platform's TCB was not judged: no TCB info"] : []),
        ...(claims.revocationChecked ? [] : ["revocation was not checked: no CRL"]),
      ]
      if (tcb === undefined)
        return { line: `genuine signature: ${name} quote, TCB unknown`, ...none, warnings }
      const line = `genuine: ${name} quote, platform ${tcb.status}`
      return { line, tcbStatus: tcb.status, advisories: tcb.advisories, warnings }
    }
    case "sev-snp": {
      const warnings = [
        ...(claims.policy.debug ? ["the guest's policy allows debugging"] : []),
        ...(claims.revocationChecked ? [] : ["revocation was not checked: no CRL"]),
      ]
      const line = `genuine: SEV-SNP report of ${claims.product}, signed by its ${claims.signer.toUpperCase()}`
      return { line, ...none, warnings }
    }
    case "tpm2": {
      const warnings = claims.akRestricted
        ? []
        : ["the key is given without its public area: it may sign what no TPM made"]
      return { line: "genuine: TPM 2.0 quote by a key that you gave", ...none, warnings }
    }
    case "insecure-sim": {
      const warnings = ["no hardware stands behind this: anybody can make such evidence"]
      return {
        line: "INSECURE: signed by a software key, no hardware (insecure-sim)",
        ...none,
        warnings,
      }
    }
    case "azure": {
      const inner = verdictOf(claims.hardware)
      return { ...inner, line: `${inner.line}; its virtual TPM's quote is genuine` }
    }
  }
}

function wordOf(claims: LooseClaims): "genuine" | "signature-only" | "insecure" {
  if (claims.type === "insecure-sim") return "insecure"
  if (claims.type === "azure") return wordOf(claims.hardware)
  return "tcb" in claims && claims.tcb === undefined ? "signature-only" : "genuine"
}

function print(claims: LooseClaims, now: number, options: Options, io: Io): void {
  const { line, ...verdict } = verdictOf(claims)
  for (const warning of verdict.warnings) io.warn(`coffer: warning: ${warning}`)
  if (options.json === true) {
    io.print(JSON.stringify({ verdict: wordOf(claims), now, ...verdict, claims }))
    return
  }
  io.print(line)
  if (verdict.advisories.length > 0) io.print(`advisories: ${verdict.advisories.join(", ")}`)
  const parts = claims.type === "azure" ? [claims.hardware, claims.tpm] : [claims]
  for (const [name, value] of parts.flatMap((part) => Object.entries(part)))
    if (typeof value === "string" && value !== "") io.print(`${name}: ${value}`)
  const { checks } = claims
  const text = checks.map((check) =>
    check.note === undefined ? check.name : `${check.name} (${check.note})`,
  )
  io.print(`checks: ${text.join(", ")}`)
}
