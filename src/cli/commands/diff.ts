import { Command } from "commander"
import { type JsonValue, toHex, utf8OfByteString } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { diffJson, type FieldChange } from "../../manifest/index.ts"
import type { StoredRegion } from "../../protect/index.ts"
import { diffTrees, type FileChange, openTree, type SealedBinary } from "../../seal/index.ts"
import { describeFields } from "../../sgx/index.ts"
import type { ByteSource } from "../../verity/index.ts"
import type { Io } from "../io.ts"
import { binaryOrImage, withSealed } from "../sealed-file.ts"

interface Options {
  readonly expectSame?: true
  readonly json?: true
}

interface Difference {
  readonly sameMrEnclave: boolean
  readonly mrEnclave: readonly [string, string]
  readonly manifest: readonly FieldChange[]
  readonly signature: readonly FieldChange[]
  readonly files: readonly FileChange[]
  /** Regions whose content of the image is in a store of another content, or under another key. */
  readonly regions: readonly string[]
}

/** `coffer diff A B`: why two sealed binaries, or the ones in two images, do not have one MrEnclave. */
export function diffCommand(io: Io): Command {
  return new Command("diff")
    .description(
      "which files, manifest fields and signature differ between two sealed binaries or images",
    )
    .argument("<a>", binaryOrImage)
    .argument("<b>", "the other one")
    .option("--expect-same", "exit 3 when MrEnclave differs")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExits 0 when the comparison was made, whatever it found; in scripts use --expect-same.",
    )
    .action(async (a: string, b: string, options: Options) => {
      const found = await withSealed(a, io, (left, leftSource, leftStores) =>
        withSealed(b, io, (right, rightSource, rightStores) => ({
          sameMrEnclave: toHex(left.mrEnclave) === toHex(right.mrEnclave),
          mrEnclave: [toHex(left.mrEnclave), toHex(right.mrEnclave)] as const,
          manifest: diffJson(left.manifest, right.manifest),
          signature: signatureDiff(left, right),
          files: fileChanges(left, leftSource, right, rightSource),
          regions: regionChanges(left, leftStores, rightStores),
        })),
      )
      if (options.json === true) io.print(JSON.stringify(found))
      else for (const line of asText(found)) io.print(line)
      if (options.expectSame === true && !found.sameMrEnclave)
        throw new CofferError(
          "integrity",
          `${b}: wanted MrEnclave ${found.mrEnclave[0]}, found ${found.mrEnclave[1]}`,
          {
            reason: "different",
          },
        )
    })
}

/** The name of a segment is drawn from content and key: other names are another content. */
function regionChanges(
  { manifest }: SealedBinary,
  left: readonly StoredRegion[],
  right: readonly StoredRegion[],
): string[] {
  return manifest.regions.flatMap((region) =>
    region.kind === "image" && segmentsOf(left, region.store) !== segmentsOf(right, region.store)
      ? [region.path]
      : [],
  )
}

const segmentsName = utf8OfByteString("segments")

function segmentsOf(stores: readonly StoredRegion[], name: string): string {
  const segments = stores.find((store) => store.name === name)?.files.children.get(segmentsName)
  return segments?.kind === "directory" ? [...segments.children.keys()].toSorted().join() : ""
}

function fileChanges(
  left: SealedBinary,
  leftSource: ByteSource,
  right: SealedBinary,
  rightSource: ByteSource,
): FileChange[] {
  // One root hash is one image: nothing needs to be read.
  if (left.manifest.verity.rootHash === right.manifest.verity.rootHash) return []
  return diffTrees(openTree(leftSource, left.manifest), openTree(rightSource, right.manifest))
}

/** Where only one is signed, its fields say nothing more. */
function signatureDiff(a: SealedBinary, b: SealedBinary): FieldChange[] {
  if (a.signature === undefined || b.signature === undefined)
    return diffJson(a.signature !== undefined, b.signature !== undefined, "signed")
  return diffJson(describeFields(a.signature), describeFields(b.signature))
}

function asText(found: Difference): string[] {
  const lines = [
    ...section(
      "Files",
      found.files.map(
        ({ path, change, what }) =>
          `${change.padEnd(8)} ${path}${what.length === 0 ? "" : `: ${what.join(", ")}`}`,
      ),
    ),
    ...section(
      "Regions of the image",
      found.regions.map((path) => `changed  ${path}: another content, or another key`),
    ),
    ...section(
      "Manifest",
      found.manifest.map((change) => fieldLine(change)),
    ),
    ...section(
      "Signature",
      found.signature.map((change) => fieldLine(change)),
    ),
  ]
  const [a, b] = found.mrEnclave
  const head = found.sameMrEnclave
    ? [`MrEnclave is the same: ${a}`]
    : [`MrEnclave ${a}`, `     and  ${b}`]
  return [...head, ...lines]
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0
    ? []
    : [`${title} (${lines.length}):`, ...lines.map((line) => `  ${line}`)]
}

function fieldLine({ field, from, to }: FieldChange): string {
  return `${field}: ${show(from)} -> ${show(to)}`
}

function show(value: JsonValue | undefined): string {
  return value === undefined ? "nothing" : JSON.stringify(value)
}
