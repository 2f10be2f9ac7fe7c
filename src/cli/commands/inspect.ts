import { Command } from "commander"
import { CofferError } from "../../errors.ts"
import type { Region } from "../../manifest/index.ts"
import type { StoredRegion } from "../../protect/index.ts"
import {
  type CheckedProof,
  type ClassCoverage,
  checkProof,
  expectMrEnclave,
  type InclusionProof,
  type InventoryEntry,
  protectionOf,
  provePath,
  type SealedBinary,
  type SealedReport,
  sealedReport,
} from "../../seal/index.ts"
import type { ByteSource } from "../../verity/index.ts"
import { fromHost, reportPage } from "../html/report-page.ts"
import type { Io } from "../io.ts"
import { absolutePathsOf } from "../path-argument.ts"
import { formatSize } from "../progress.ts"
import { readText } from "../read-text.ts"
import { regionContents } from "../region-contents.ts"
import { regionText } from "../region-text.ts"
import { binaryOrImage, withSealed } from "../sealed-file.ts"
import { readKeyFile } from "../volume-source.ts"
import { writeText } from "../write-text.ts"

interface Options {
  readonly prove?: string
  readonly checkProof?: string
  readonly mrenclave?: string
  readonly html?: string
  readonly keys?: string
  readonly json?: true
}

/** `coffer inspect`: what a sealed binary is and holds; proofs of single paths. */
export function inspectCommand(io: Io): Command {
  return new Command("inspect")
    .description("show what is in a sealed binary and what protects it; prove single paths")
    .argument("[binary]", binaryOrImage)
    .option("--prove <path>", "print a proof of one path against MrEnclave, as JSON")
    .option("--check-proof <file>", "verify such a proof, without the binary")
    .option("--mrenclave <hex>", "with --check-proof: the MrEnclave that it must be for")
    .option("--html <file>", "write the report as one page, with a picture of the root filesystem")
    .option("--keys <file>", "key of encrypted content of the image: show its files too")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
What is not protected comes first. Files are read through the hash tree; to compare every block: coffer binfs verify.

Examples:
  coffer inspect shop.sealed --prove /app/main.py > proof.json
  coffer inspect oci:shop:1 --html shop.html
  coffer inspect --check-proof proof.json --mrenclave $(coffer measure shop.sealed)`,
    )
    .action(async (binary: string | undefined, options: Options) => {
      if (options.checkProof !== undefined) check(binary, options.checkProof, options, io)
      else if (binary === undefined)
        throw new CofferError("usage", "wanted a sealed binary or --check-proof, found neither")
      else if (options.mrenclave !== undefined)
        throw new CofferError("usage", "--mrenclave: wanted --check-proof with it, found none")
      else
        await withSealed(binary, io, (sealed, source, stored) => {
          if (options.prove !== undefined) io.print(JSON.stringify(prove(source, options.prove)))
          else show(reportOf(sealed, source, stored, options.keys), options, io)
        })
    })
}

function prove(source: ByteSource, typed: string): InclusionProof {
  const [path, ...other] = absolutePathsOf(typed)
  try {
    return provePath(source, path)
  } catch (error) {
    const [next] = other
    if (next === undefined || !(error instanceof CofferError) || error.code !== "missing")
      throw error
    return provePath(source, next)
  }
}

function reportOf(
  sealed: SealedBinary,
  source: ByteSource,
  stored: readonly StoredRegion[],
  keys: string | undefined,
): SealedReport {
  const key = keys === undefined ? undefined : readKeyFile(keys)
  const contents = regionContents(sealed.manifest, stored, key)
  try {
    return sealedReport(sealed, source, contents.stores)
  } finally {
    contents.close()
  }
}

function show(report: SealedReport, { html, json }: Options, io: Io): void {
  if (html !== undefined) writeText(html, reportPage(report))
  if (json === true) io.print(JSON.stringify(report))
  else if (html === undefined) for (const line of asText(report)) io.print(line)
  else io.print(`wrote ${html}`)
}

function check(binary: string | undefined, file: string, options: Options, io: Io): void {
  if (binary !== undefined || options.prove !== undefined)
    throw new CofferError("usage", "--check-proof: wanted no binary and no --prove with it")
  const proof = checkProof(readText(file))
  if (options.mrenclave !== undefined) expectMrEnclave(proof, options.mrenclave)
  else io.warn("note: compare MrEnclave with one that you trust, or give it with --mrenclave")
  if (options.json === true) io.print(JSON.stringify(proof))
  else for (const line of proofText(proof)) io.print(line)
}

function proofText({ mrEnclave, path, found }: CheckedProof): string[] {
  const fields = Object.entries<unknown>({ ...found })
    .map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)])
    .filter(([, text]) => text !== "{}")
    .map(([name = "", text = ""]) => `  ${name.padEnd(7)} ${text}`)
  return [`MrEnclave ${mrEnclave}`, `holds ${path}:`, ...fields]
}

function asText(report: SealedReport): string[] {
  const { manifest, mrEnclave, signature, sizes, files } = report
  const signed =
    signature === null
      ? "none"
      : `MrSigner ${String(signature["mrSigner"])}, product ${String(signature["isvProdId"])}, SVN ${String(signature["isvSvn"])}, date ${String(signature["date"])}`
  const parts = `head ${formatSize(sizes.head)}, files ${formatSize(sizes.binfs)}, hash tree ${formatSize(sizes.verity)}`
  return [
    ...regionLines("Not protected:", manifest.regions, true),
    ...report.warnings.map((warning) => `Warning: ${warning}`),
    `${manifest.name}: sealed binary for ${manifest.arch}`,
    `  MrEnclave  ${mrEnclave}`,
    `  signature  ${signed}`,
    `  runs       ${manifest.argv.map((arg) => JSON.stringify(arg)).join(" ")} as ${manifest.user.uid}:${manifest.user.gid} in ${manifest.cwd}`,
    `  from host  ${fromHost(manifest)}`,
    `  size       ${formatSize(sizes.file)}: ${parts}`,
    ...(sizes.stores === 0
      ? []
      : [`  stores     ${formatSize(sizes.stores)}, of regions of the image`]),
    ...regionLines("Regions:", manifest.regions, false),
    "Coverage:",
    ...report.coverage.map((found) => coverageLine(found)),
    "Files:",
    ...files.map((file) => fileLine(file)),
  ]
}

function coverageLine({ class: name, fileCount, size }: ClassCoverage): string {
  return `  ${name.padEnd(13)} ${String(fileCount).padStart(8)} files ${String(size).padStart(14)} bytes`
}

function regionLines(title: string, regions: readonly Region[], unprotected: boolean): string[] {
  const chosen = regions.filter((region) => (protectionOf(region) === "none") === unprotected)
  if (chosen.length === 0) return []
  return [title, ...chosen.map((region) => `  ${region.path}  ${regionText(region)}`)]
}

function fileLine(file: InventoryEntry): string {
  const owner = `${file.uid}:${file.gid}`
  const size = String(file.size ?? file.stored ?? "-")
  return `  ${file.class.padEnd(13)} ${file.kind.padEnd(9)} ${file.mode} ${owner.padEnd(9)} ${size.padStart(10)}  ${file.path}`
}
