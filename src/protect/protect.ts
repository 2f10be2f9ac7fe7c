import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
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
import { type ImageReference, imageTree, openImage, type SourceImage } from "../oci/index.ts"
import {
  type FileSource,
  findExecutable,
  openFile,
  readSealed,
  rootTree,
  type SealedBinary,
  type SignInput,
  signSealed,
  textFile,
  type WrittenBinary,
  writeSealed,
} from "../seal/index.ts"
import type { DirectoryNode, OnProgress } from "../tree/index.ts"
import { serviceDefaults } from "./defaults.ts"
import { deliver, type Output } from "./deliver.ts"
import { contentOfFd, writeProtectedImage } from "./image.ts"
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
    source: FileSource,
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
  const scratch = mkdtempSync(join(tmpdir(), "coffer-protect-"))
  const image = await openImage(input.from, { platform: hostPlatform(), input: input.input })
  try {
    const tree = await imageTree(image, input.progress("reading layers"))
    try {
      return await protectTree(input, image, tree.root, scratch)
    } finally {
      tree.close()
    }
  } finally {
    image.close()
    rmSync(scratch, { recursive: true, force: true })
  }
}

async function protectTree(
  input: ProtectInput,
  image: SourceImage,
  root: DirectoryNode,
  scratch: string,
): Promise<ProtectResult> {
  const { regions, name } = draftOf(input, image, root, unknownTags)
  requireOwnStores(regions)
  const { progress } = input
  const key = () => (input.key ?? noKey)(name)
  const written = writeStores({ image: root, regions, key, scratch, progress })
  try {
    return await sealTree(input, { image, root, scratch, stores: written.stores })
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
  readonly root: DirectoryNode
  readonly scratch: string
  readonly stores: readonly WrittenStore[]
}

async function sealTree(input: ProtectInput, parts: ToSeal): Promise<ProtectResult> {
  const { image, root, scratch, stores } = parts
  const tags = new Map(stores.map(({ region, tag }) => [region.path, tag]))
  const tagged = draftOf(input, image, root, tags)
  const { source: _, ...renewable } = tagged
  const manifest = isRenewable(tagged) ? renewable : tagged
  const path = join(scratch, "sealed")
  const tree = rootTree(input.select?.(root, manifest) ?? root, manifest.regions)
  const onProgress = input.progress("sealing")
  const written = writeSealed(path, manifest, (fd, offset) =>
    writeBinfs(tree, fd, offset, { onProgress }),
  )
  const signed = input.sign === undefined ? undefined : signSealed(path, input.sign)
  const regions = stores.map(({ region, tag, fileCount, size }) => ({
    region,
    tag,
    fileCount,
    size,
  }))
  if (input.onSealed !== undefined) readBack(path, stores, input.onSealed)
  const digest = await store(input, parts, path, written)
  return {
    manifest,
    mrEnclave: toHex(written.mrEnclave),
    mrSigner: signed === undefined ? undefined : toHex(signed.mrSigner),
    sourceDigest: image.digest,
    digest,
    sealedSize: written.size,
    regions,
    warnings: [...manifestWarnings(manifest), ...leakWarnings(stores, tree)],
  }
}

function readBack(
  path: string,
  regions: readonly WrittenStore[],
  use: NonNullable<ProtectInput["onSealed"]>,
): void {
  const source = openFile(path)
  try {
    use(readSealed(source), source, regions)
  } finally {
    source.close()
  }
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

async function store(
  input: ProtectInput,
  { image: source, scratch, stores }: ToSeal,
  path: string,
  written: WrittenBinary,
): Promise<string> {
  const { manifest, mrEnclave } = written
  const fd = openSync(path, "r")
  try {
    const sealed = contentOfFd(fd, fstatSync(fd).size)
    let digest = ""
    await deliver(input.to, scratch, input.output, (layout, tag) => {
      const { config, digest: sourceDigest } = source
      const image = {
        config,
        sourceDigest,
        sealed,
        manifest,
        mrEnclave,
        stores: storeFiles(stores),
      }
      const made = writeProtectedImage(layout, image, input.progress("writing the image"))
      layout.finish(made, tag)
      digest = made.digest
      return Promise.resolve()
    })
    return digest
  } finally {
    closeSync(fd)
  }
}
