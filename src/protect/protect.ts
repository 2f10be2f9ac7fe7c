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

export interface ProtectInput {
  readonly from: ImageReference
  readonly to: ImageReference
  /** The checked `coffer.yaml`, or what stands for it when there is none. */
  readonly service: ServiceSource
  /** For a service without a name of its own. */
  readonly name: string
  readonly sign?: SignInput
  /** Where `docker-archive:-` reads from and writes to. */
  readonly input: AsyncIterable<Uint8Array>
  readonly output: Output
  /** Called with what is being done, before it begins. */
  readonly progress: (step: string) => OnProgress
  /** Sees the sealed binary, signed, before it goes into the image; for reports. */
  readonly onSealed?: (sealed: SealedBinary, source: FileSource) => void
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
  const manifest = draftOf(input, image, root)
  const path = join(scratch, "sealed")
  const tree = rootTree(root, manifest.regions)
  const onProgress = input.progress("sealing")
  const written = writeSealed(path, manifest, (fd, offset) =>
    writeBinfs(tree, fd, offset, { onProgress }),
  )
  const signed = input.sign === undefined ? undefined : signSealed(path, input.sign)
  if (input.onSealed !== undefined) readBack(path, input.onSealed)
  const digest = await store(input, image, path, written, scratch)
  return {
    manifest,
    mrEnclave: toHex(written.mrEnclave),
    mrSigner: signed === undefined ? undefined : toHex(signed.mrSigner),
    sourceDigest: image.digest,
    digest,
    sealedSize: written.size,
    warnings: manifestWarnings(manifest),
  }
}

function readBack(path: string, use: NonNullable<ProtectInput["onSealed"]>): void {
  const source = openFile(path)
  try {
    use(readSealed(source), source)
  } finally {
    source.close()
  }
}

function draftOf(input: ProtectInput, image: SourceImage, root: DirectoryNode): ManifestDraft {
  const defaults = serviceDefaults(image.config, input.name)
  const draft = compileManifest({
    source: input.service,
    defaults,
    arch: () => machineOf(image.config.architecture),
    user: (spec) => resolveUser(spec, textFile(root, "/etc/passwd"), textFile(root, "/etc/group")),
    executable: (name, env) => findExecutable(root, name, env),
    image: image.digest,
  })
  const unsupported = draft.regions.find(({ kind }) => kind === "image")
  if (unsupported !== undefined) {
    throw new CofferError(
      "config",
      `regions: ${unsupported.path}: wanted no region with content of the image outside of the measured files, found one`,
      {
        hint: "make it a persistent volume with seed: image, or leave it measured; stores in images are not written yet",
      },
    )
  }
  return draft
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
  source: SourceImage,
  path: string,
  written: WrittenBinary,
  scratch: string,
): Promise<string> {
  const { manifest, mrEnclave } = written
  const fd = openSync(path, "r")
  try {
    const sealed = contentOfFd(fd, fstatSync(fd).size)
    let digest = ""
    await deliver(input.to, scratch, input.output, (layout, tag) => {
      const { config, digest: sourceDigest } = source
      const image = { config, sourceDigest, sealed, manifest, mrEnclave }
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
