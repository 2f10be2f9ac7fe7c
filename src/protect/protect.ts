import { closeSync, openSync } from "node:fs"
import { writeBinfs } from "../binfs/index.ts"
import { toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  compileManifest,
  type ManifestDraft,
  manifestWarnings,
  resolveUser,
  type ServiceSource,
} from "../manifest/index.ts"
import {
  type ImageReference,
  type ImageTree,
  imageTree,
  type LayoutWriter,
  openImage,
  type SourceImage,
} from "../oci/index.ts"
import {
  findExecutable,
  openFile,
  readSealed,
  rootTree,
  type SealedBinary,
  type SignInput,
  signedHead,
  textFile,
  type WrittenBinary,
  windowOf,
  writeAll,
  writeSealed,
} from "../seal/index.ts"
import { makeLargeScratch } from "../sys/index.ts"
import type { DirectoryNode, OnProgress } from "../tree/index.ts"
import type { ByteSource } from "../verity/index.ts"
import { serviceDefaults } from "./defaults.ts"
import { deliver, type Output } from "./deliver.ts"
import { sealInto, writeProtectedImage } from "./image.ts"
import { hostPlatform } from "./platform.ts"
import {
  leakWarnings,
  type RegionStore,
  requireOwnStores,
  storeFiles,
  type WrittenStore,
  writeStores,
} from "./stores.ts"

export interface ProtectInput {
  readonly from: ImageReference
  readonly to: ImageReference
  /** The checked `coffer.yaml`, or what stands for it when there is none. */
  readonly service: ServiceSource
  /** For a service without a name of its own. */
  readonly name: string
  readonly sign?: SignInput
  /** The key of encrypted content of the image, 32 bytes; asked for only when there is such content. */
  readonly key?: (service: string) => Uint8Array
  /** A directory that keeps decompressed layers for the next time: in clear, so for their owner alone. */
  readonly cache?: string | undefined
  /** Where `docker-archive:-` reads from and writes to. */
  readonly input: AsyncIterable<Uint8Array>
  readonly output: Output
  /** Called with what is being done, before it begins. */
  readonly progress: (step: string) => OnProgress
  /** Chooses the files that are embedded; default: all that are in no store of their own. */
  readonly select?: (root: DirectoryNode, manifest: ManifestDraft) => DirectoryNode
  /** Sees the sealed binary, signed, before it goes into the image; for reports. */
  readonly onSealed?: (
    sealed: SealedBinary,
    source: ByteSource,
    regions: readonly WrittenStore[],
  ) => void
}

export interface ProtectResult {
  readonly manifest: ManifestDraft
  readonly mrEnclave: string
  readonly mrSigner: string | undefined
  readonly sourceDigest: string
  /** Digest of the protected image's manifest. */
  readonly digest: string
  /** Bytes of the sealed binary. */
  readonly sealedSize: number
  /** Of the image's content that is in stores of its own. */
  readonly regions: readonly RegionStore[]
  readonly warnings: readonly string[]
}

const architectures = { "x86-64": "amd64", aarch64: "arm64" } as const

/** Image in, protected image out. Nothing is left behind when it fails. */
export async function protectImage(input: ProtectInput): Promise<ProtectResult> {
  const scratch = makeLargeScratch("coffer-protect-")
  try {
    const image = await openImage(input.from, {
      platform: hostPlatform(),
      input: input.input,
      scratch: scratch.path,
    })
    try {
      const tree = await imageTree(image, input.progress("reading layers"), { cache: input.cache })
      try {
        return await protectTree(input, image, tree, scratch.path)
      } finally {
        tree.close()
      }
    } finally {
      image.close()
    }
  } finally {
    scratch.remove()
  }
}

async function protectTree(
  input: ProtectInput,
  image: SourceImage,
  tree: ImageTree,
  scratch: string,
): Promise<ProtectResult> {
  const { root } = tree
  const { regions, name } = draftOf(input, image, root, unknownTags)
  requireOwnStores(regions)
  const { progress } = input
  const key = () => (input.key ?? noKey)(name)
  const written = writeStores({ image: root, regions, key, scratch, progress })
  try {
    return await sealTree(input, { image, layers: tree, scratch, stores: written.stores })
  } finally {
    written.close()
  }
}

function noKey(): never {
  throw new CofferError(
    "config",
    "regions: wanted a key for encrypted content of the image, found none",
  )
}

interface ToSeal {
  readonly image: SourceImage
  readonly layers: ImageTree
  readonly scratch: string
  readonly stores: readonly WrittenStore[]
}

async function sealTree(input: ProtectInput, parts: ToSeal): Promise<ProtectResult> {
  const { image, layers, scratch, stores } = parts
  const { root } = layers
  const tags = new Map(stores.map(({ region, tag }) => [region.path, tag]))
  const tagged = draftOf(input, image, root, tags)
  const { source: _, ...renewable } = tagged
  const manifest = isRenewable(tagged) ? renewable : tagged
  requireMeasuredBinary(manifest)
  const tree = rootTree(input.select?.(root, manifest) ?? root, manifest.regions)
  let made: Made | undefined
  await deliver(input.to, scratch, input.output, async (layout, tag) => {
    made = await writeImage(input, parts, { layout, tag, manifest, tree })
  })
  if (made === undefined) throw new TypeError("a layout was filled")
  const regions = stores.map(({ region, tag, fileCount, size }) => ({
    region,
    tag,
    fileCount,
    size,
  }))
  return {
    manifest,
    mrEnclave: toHex(made.written.mrEnclave),
    mrSigner: made.mrSigner,
    sourceDigest: image.digest,
    digest: made.digest,
    sealedSize: made.written.size,
    regions,
    warnings: [...manifestWarnings(manifest), ...leakWarnings(stores, tree)],
  }
}

/** What the service is started with must be what is measured. */
function requireMeasuredBinary({ binary, regions }: ManifestDraft): void {
  const [around] = regions
    .filter(({ path }) => binary.startsWith(`${path}/`))
    .toSorted((a, b) => b.path.length - a.path.length)
  if (around === undefined || around.kind === "measured") return
  throw new CofferError(
    "config",
    `service.binary: wanted a measured file, found ${binary} in the region ${around.path}`,
    {
      hint: `make it measured: { path: ${binary.slice(0, binary.lastIndexOf("/"))}, protection: measured }`,
    },
  )
}

interface Made {
  readonly written: WrittenBinary
  readonly mrSigner: string | undefined
  readonly digest: string
}

interface ToWrite {
  readonly layout: LayoutWriter
  readonly tag: string
  readonly manifest: ManifestDraft
  readonly tree: DirectoryNode
}

/** Seals the binary where it will lie, in the layer of the image, and makes the image of it. */
async function writeImage(
  input: ProtectInput,
  { image: { config, digest: sourceDigest }, layers, stores }: ToSeal,
  { layout, tag, manifest: draft, tree }: ToWrite,
): Promise<Made> {
  const onProgress = input.progress("sealing")
  let written: WrittenBinary | undefined
  let mrSigner: string | undefined
  let released: Promise<void> | undefined
  const options = { onProgress, expectedSize: layers.size }
  const binfs = (fd: number, at: number) => writeBinfs(tree, fd, at, options)
  const layer = await sealInto(layout, (path, offset) => {
    const place = { offset, durable: false }
    const found = writeSealed(path, draft, binfs, place)
    written = found
    const file = openFile(path)
    try {
      const binary = windowOf(file, offset, found.size)
      if (input.sign !== undefined) mrSigner = signIn(path, offset, binary, input.sign)
      input.onSealed?.(readSealed(binary), binary, stores)
    } finally {
      file.close()
    }
    // Nothing reads the image's content from here on, and its memory is given back while the layer is hashed.
    released = layers.release()
    return found.size
  })
  await released
  if (written === undefined) throw new TypeError("the binary was sealed")
  const { manifest, mrEnclave } = written
  const parts = { config, sourceDigest, layer, manifest, mrEnclave, stores: storeFiles(stores) }
  const made = writeProtectedImage(layout, parts, input.progress("writing the image"))
  layout.finish(made, tag)
  return { written, mrSigner, digest: made.digest }
}

/** Nobody has the file yet: its head is written over. */
function signIn(path: string, offset: number, file: ByteSource, sign: SignInput): string {
  const { head, claims } = signedHead(readSealed(file), sign)
  const fd = openSync(path, "r+")
  try {
    writeAll(fd, head, offset)
  } finally {
    closeSync(fd)
  }
  return toHex(claims.mrSigner)
}

/** Before the stores are written, only their regions are needed. */
const unknownTags: Pick<ReadonlyMap<string, string>, "get"> = { get: () => "0".repeat(64) }

function draftOf(
  input: ProtectInput,
  image: SourceImage,
  root: DirectoryNode,
  tags: Pick<ReadonlyMap<string, string>, "get">,
): ManifestDraft {
  const defaults = serviceDefaults(image.config, input.name)
  return compileManifest({
    source: input.service,
    defaults,
    arch: () => machineOf(image.config.architecture),
    user: (spec) => resolveUser(spec, textFile(root, "/etc/passwd"), textFile(root, "/etc/group")),
    executable: (name, env) => findExecutable(root, name, env),
    image: image.digest,
    tags,
  })
}

/** Its tag is in the policy: new content must not be another measurement. The digest of the source image would make it one. */
function isRenewable({ regions }: ManifestDraft): boolean {
  return regions.some((region) => region.kind === "image" && region.tag === undefined)
}

function machineOf(architecture: string): keyof typeof architectures {
  for (const machine of ["x86-64", "aarch64"] as const) {
    if (architectures[machine] === architecture) return machine
  }
  throw new CofferError(
    "config",
    `image config: architecture: wanted amd64 or arm64, found ${architecture}`,
  )
}
