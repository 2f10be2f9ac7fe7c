import { z } from "zod"
import {
  type ByteString,
  canonicalJson,
  displayName,
  equalBytes,
  fromHex,
  type JsonValue,
  parseDisplayName,
  toHex,
} from "../bytes/index.ts"
import { machines } from "../elf/index.ts"
import { CofferError } from "../errors.ts"
import { type MeasuredManifest, parseManifest } from "../manifest/index.ts"
import type { TreeNode } from "../tree/index.ts"
import { type ByteSource, blockSize } from "../verity/index.ts"
import { describeNode, lookUp, type NodeDescription } from "./describe.ts"
import { openTree } from "./files.ts"
import { checkGeometry, manifestPages, stubPage } from "./layout.ts"
import { measurePages } from "./measure.ts"
import { readSealed } from "./read.ts"

const proofFormat = "coffer/inclusion-proof/1"

/** Bytes of content: a proof carries the file. */
const maxContentSize = 256 * 2 ** 20

/** Says of one path of a sealed binary what it is, with all that is needed to recompute MrEnclave from it. `spec/inclusion-proof.md`. */
export interface InclusionProof {
  readonly format: typeof proofFormat
  readonly mrEnclave: string
  /** As `displayName` shows it. */
  readonly path: string
  readonly found: NodeDescription
  readonly arch: (typeof machines)[number]
  /** The manifest's text, canonical JSON. */
  readonly manifest: string
  /** Blocks of the sealed binary, in base64, sorted by their offset: of the image, and of the hash tree above them. */
  readonly blocks: readonly { readonly offset: number; readonly data: string }[]
}

/** Reads what the path needs, and keeps each block that was read on the way. */
export function provePath(source: ByteSource, path: ByteString): InclusionProof {
  const binary = readSealed(source)
  const recorder = new Recorder(source)
  const node = lookUp(openTree(recorder, binary.manifest), path)
  if (node.kind === "file" && node.content.size > maxContentSize)
    throw new CofferError(
      "config",
      `${displayName(path)}: wanted a file of at most ${maxContentSize} bytes to prove, found ${node.content.size}`,
      { hint: "coffer binfs cat gives its bytes, verified against the root hash in the manifest" },
    )
  const found = describeNode(node)
  return {
    format: proofFormat,
    mrEnclave: toHex(binary.mrEnclave),
    path: displayName(path),
    found,
    arch: binary.manifest.arch,
    manifest: textOf(binary.manifestPages),
    blocks: recorder.blocks(),
  }
}

const maxProofSize = 512 * 2 ** 20
const blockText = 4 * Math.ceil(blockSize / 3)

const proofSchema = z.strictObject({
  format: z.literal(proofFormat),
  mrEnclave: z.string().regex(/^[0-9a-f]{64}$/),
  path: z.string().startsWith("/"),
  found: z.record(z.string(), z.unknown()),
  arch: z.enum(machines),
  manifest: z.string(),
  blocks: z.array(
    z.strictObject({
      offset: z.int().min(0).multipleOf(blockSize),
      data: z.string().length(blockText),
    }),
  ),
})

export interface CheckedProof {
  /** Recomputed from the proof: compare it with the MrEnclave that you trust. */
  readonly mrEnclave: string
  /** As `displayName` shows it. */
  readonly path: string
  readonly found: NodeDescription
}

/** Verifies a proof without the binary: MrEnclave, root hash, path and content are all recomputed. An `integrity` error says what does not hold. */
export function checkProof(text: string): CheckedProof {
  if (text.length > maxProofSize) throw broken("size", `at most ${maxProofSize} characters`, "more")
  const proof = parseProof(text)
  const manifest = parseManifest(Buffer.from(proof.manifest, "utf8"))
  checkGeometry(manifest)
  if (manifest.arch !== proof.arch) throw broken("arch", manifest.arch, proof.arch)
  const mrEnclave = toHex(measurePages(stubPage(manifest.arch), manifestPages(manifest)))
  if (mrEnclave !== proof.mrEnclave) throw broken("mrEnclave", mrEnclave, proof.mrEnclave)
  const size = manifest.verity.offset + manifest.verity.size
  const source = new ProvenBlocks(size, proof.blocks)
  const found = describeNode(provenNode(source, manifest, proof.path))
  // What the proof says is found is for people; only what was recomputed is given out.
  const claimed = proof.found as JsonValue
  if (!equalBytes(canonicalJson({ ...found }), canonicalJson(claimed)))
    throw broken("found", JSON.stringify(found), JSON.stringify(claimed).slice(0, 200))
  return { mrEnclave, path: proof.path, found }
}

// A proof of what is not there is a broken proof, not a thing that is missing here.
function provenNode(source: ByteSource, manifest: MeasuredManifest, shown: string): TreeNode {
  const path = parseDisplayName(shown)
  // One path has one text: whoever compares it with another need not know of the escapes.
  if (path === undefined || displayName(path) !== shown || !isNormal(path))
    throw broken("path", "an absolute path as coffer shows it", JSON.stringify(shown))
  try {
    return lookUp(openTree(source, manifest), path)
  } catch (cause) {
    if (cause instanceof CofferError && cause.code === "missing")
      throw broken("path", "a path that is there", cause.message)
    throw cause
  }
}

function isNormal(path: ByteString): boolean {
  return (
    path === "/" ||
    path
      .slice(1)
      .split("/")
      .every((name) => name !== "")
  )
}

function parseProof(text: string): z.output<typeof proofSchema> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new CofferError("integrity", "inclusion proof: wanted JSON, found something else", {
      cause,
    })
  }
  const parsed = proofSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw broken(issue?.path.map(String).join(".") ?? "", issue?.message ?? "another value", "this")
}

/** The text in the pages, without their zeros. */
function textOf(pages: Uint8Array): string {
  return Buffer.from(pages.subarray(0, pages.indexOf(0))).toString("utf8")
}

class Recorder implements ByteSource {
  readonly size: number
  readonly #source: ByteSource
  readonly #blocks = new Map<number, string>()

  constructor(source: ByteSource) {
    this.#source = source
    this.size = source.size
  }

  /** Verity reads whole blocks only, so each block of `target` is one. */
  read(target: Uint8Array, position: number): void {
    this.#source.read(target, position)
    for (let at = 0; at < target.length; at += blockSize)
      this.#blocks.set(position + at, target.subarray(at, at + blockSize).toBase64())
  }

  blocks(): InclusionProof["blocks"] {
    return [...this.#blocks]
      .toSorted(([a], [b]) => a - b)
      .map(([offset, data]) => ({ offset, data }))
  }
}

/** A file of which only some blocks are known; the rest is an error. What it gives is verified by the hash tree above it. */
class ProvenBlocks implements ByteSource {
  readonly size: number
  readonly #blocks = new Map<number, Uint8Array>()

  constructor(size: number, blocks: z.output<typeof proofSchema>["blocks"]) {
    this.size = size
    let last = -1
    for (const { offset, data } of blocks) {
      if (offset <= last) throw broken("blocks", "sorted offsets, each once", String(offset))
      last = offset
      this.#blocks.set(offset, decoded(data))
    }
  }

  read(target: Uint8Array, position: number): void {
    for (let at = 0; at < target.length; at += blockSize) {
      const block = this.#blocks.get(position + at)
      if (block === undefined) throw broken("blocks", `the block at ${position + at}`, "none")
      target.set(block, at)
    }
  }
}

function decoded(data: string): Uint8Array {
  const bytes = Buffer.from(data, "base64")
  if (bytes.length !== blockSize || bytes.toString("base64") !== data)
    throw broken("blocks", `${blockSize} bytes in base64`, "something else")
  return bytes
}

/** Compares with the MrEnclave that the caller trusts, as 64 hex digits of either case. */
export function expectMrEnclave(proof: CheckedProof, want: string): void {
  const bytes = fromHex(want)
  if (bytes?.length !== 32)
    throw new CofferError("usage", `MrEnclave: wanted 64 hex digits, found ${JSON.stringify(want)}`)
  if (!equalBytes(bytes, Uint8Array.fromHex(proof.mrEnclave)))
    throw broken("mrEnclave", toHex(bytes), proof.mrEnclave)
}

function broken(field: string, want: string, have: string): CofferError {
  return new CofferError("integrity", `inclusion proof: ${field}: wanted ${want}, found ${have}`, {
    reason: "inclusion-proof",
    facts: { field },
  })
}
