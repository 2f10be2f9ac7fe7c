import { Command } from "commander"
import { displayName, toHex, utf8OfByteString } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { type MeasuredManifest, manifestWarnings, type Region } from "../../manifest/index.ts"
import {
  type CheckedProof,
  checkProof,
  expectMrEnclave,
  type FileSource,
  type InventoryEntry,
  inventory,
  openTree,
  protectionOf,
  provePath,
  type SealedBinary,
} from "../../seal/index.ts"
import { describeFields } from "../../sgx/index.ts"
import type { Io } from "../io.ts"
import { formatSize } from "../progress.ts"
import { readText } from "../read-text.ts"
import { withSealed } from "../sealed-file.ts"

interface Options {
  readonly prove?: string
  readonly checkProof?: string
  readonly mrenclave?: string
  readonly json?: true
}

/** `coffer inspect`: what a sealed binary is and holds; proofs of single paths. */
export function inspectCommand(io: Io): Command {
  return new Command("inspect")
    .description("show what is in a sealed binary and what protects it; prove single paths")
    .argument("[binary]", "sealed binary")
    .option("--prove <path>", "print a proof of one path against MrEnclave, as JSON")
    .option("--check-proof <file>", "verify such a proof, without the binary")
    .option("--mrenclave <hex>", "with --check-proof: the MrEnclave that it must be for")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
What is not protected comes first. Files are read through the hash tree; to compare every block: coffer binfs verify.

Example:
  coffer inspect shop.sealed --prove /app/main.py > proof.json
  coffer inspect --check-proof proof.json --mrenclave $(coffer measure shop.sealed)`,
    )
    .action(async (binary: string | undefined, options: Options) => {
      if (options.checkProof !== undefined) check(binary, options.checkProof, options, io)
      else if (binary === undefined)
        throw new CofferError("usage", "wanted a sealed binary or --check-proof, found neither")
      else if (options.mrenclave !== undefined)
        throw new CofferError("usage", "--mrenclave: wanted --check-proof with it, found none")
      else
        await withSealed(binary, (sealed, source) => {
          if (options.prove !== undefined)
            io.print(JSON.stringify(provePath(source, options.prove)))
          else if (options.json === true) io.print(JSON.stringify(asJson(sealed, source)))
          else for (const line of asText(sealed, source)) io.print(line)
        })
    })
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
  const shown = displayName(utf8OfByteString(path))
  return [`MrEnclave ${mrEnclave}`, `holds ${shown}:`, ...fields]
}

function asJson({ manifest, ...binary }: SealedBinary, source: FileSource) {
  return {
    kind: "sealed-binary",
    mrEnclave: toHex(binary.mrEnclave),
    signature: binary.signature === undefined ? null : describeFields(binary.signature),
    sizes: {
      file: source.size,
      head: manifest.binfs.offset,
      binfs: manifest.binfs.size,
      verity: manifest.verity.size,
    },
    unprotected: manifest.regions.filter((region) => protectionOf(region) === "none"),
    warnings: manifestWarnings(manifest),
    manifest,
    files: inventory(openTree(source, manifest), manifest),
  }
}

function asText({ manifest, mrEnclave, signature }: SealedBinary, source: FileSource): string[] {
  const files = inventory(openTree(source, manifest), manifest)
  const { binfs, verity } = manifest
  const signed =
    signature === undefined
      ? "none"
      : `MrSigner ${toHex(signature.mrSigner)}, product ${signature.isvProdId}, SVN ${signature.isvSvn}, date ${signature.date}`
  const parts = `head ${formatSize(binfs.offset)}, files ${formatSize(binfs.size)}, hash tree ${formatSize(verity.size)}`
  return [
    ...regionLines("Not protected:", manifest.regions, true),
    ...warningLines(manifest),
    `${manifest.name}: sealed binary for ${manifest.arch}`,
    `  MrEnclave  ${toHex(mrEnclave)}`,
    `  signature  ${signed}`,
    `  runs       ${manifest.argv.map((arg) => JSON.stringify(arg)).join(" ")} as ${manifest.user.uid}:${manifest.user.gid} in ${manifest.cwd}`,
    `  from host  ${hostInputs(manifest)}`,
    `  size       ${formatSize(source.size)}: ${parts}`,
    ...regionLines("Regions:", manifest.regions, false),
    "Files:",
    ...files.map((file) => fileLine(file)),
  ]
}

function warningLines(manifest: MeasuredManifest): string[] {
  return manifestWarnings(manifest).map((warning) => `Warning: ${warning}`)
}

function hostInputs(manifest: MeasuredManifest): string {
  const inputs = [
    ...Object.keys(manifest.env.allow).map((name) => `$${name}`),
    ...manifest.args.allow.map((pattern) => `arguments /${pattern}/`),
    ...(manifest.stdin === "inherit" ? ["stdin"] : []),
    ...manifest.exec.map((argv) => `exec ${argv.join(" ")}`),
  ]
  return inputs.length === 0 ? "nothing" : inputs.join(", ")
}

function regionLines(title: string, regions: readonly Region[], unprotected: boolean): string[] {
  const chosen = regions.filter((region) => (protectionOf(region) === "none") === unprotected)
  if (chosen.length === 0) return []
  return [title, ...chosen.map((region) => `  ${region.path}  ${regionText(region)}`)]
}

function regionText(region: Region): string {
  switch (region.kind) {
    case "measured":
      return "measured"
    case "image":
      return `${region.protection}, from the image, changes are forgotten${region.tag === undefined ? "" : ", measured"}`
    case "scratch":
      return `encrypted, empty at start, forgotten${region.size === undefined ? "" : `, at most ${formatSize(region.size)}`}`
    case "volume":
      return `${region.protection}, persistent, volume ${region.volume}`
    case "host":
      return `the host's (${region.format})`
  }
}

function fileLine(file: InventoryEntry): string {
  const owner = `${file.uid}:${file.gid}`
  const size = file.size === undefined ? "-" : String(file.size)
  return `  ${file.class.padEnd(13)} ${file.kind.padEnd(9)} ${file.mode} ${owner.padEnd(9)} ${size.padStart(10)}  ${file.path}`
}
