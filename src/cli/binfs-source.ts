import {
  type BinfsPlace,
  checkBinfs,
  locateBinfs,
  looksLikeBinfs,
  openBinfs,
  ownersOfBlock,
  statedRootHash,
  verifiedImage,
} from "../binfs/index.ts"
import { displayName, equalBytes, fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { type FileSource, looksSealed, openFile, openImage, readSealed } from "../seal/index.ts"
import type { DirectoryNode } from "../tree/index.ts"
import type { ByteSource, VerifiedSource } from "../verity/index.ts"

export interface OpenedBinfs {
  /** The image alone; each block is verified on every read when there is a hash area. */
  readonly image: ByteSource | VerifiedSource
  /** The image without verity, for naming what is damaged. */
  readonly bare: ByteSource
  /** The file tree. Its structure was checked. */
  readonly root: DirectoryNode
  /** Bytes. */
  readonly imageSize: number
  readonly hashSize: number | undefined
  /** Hex; undefined in a bare image. */
  readonly rootHash: string | undefined
  /** Who says that this is the root hash. */
  readonly rootFrom: "option" | "manifest" | "file" | "none"
  readonly inodeCount: number
}

/** Opens a binary filesystem, alone in its file or in a sealed binary, checks its structure, and closes it after `use`. */
export async function withBinfs<T>(
  path: string,
  rootHash: string | undefined,
  use: (opened: OpenedBinfs) => T | Promise<T>,
): Promise<T> {
  const wanted = rootHash === undefined ? undefined : parseRootHash(rootHash)
  const file = openFile(path)
  try {
    const found = place(file, path, wanted)
    const reader = openBinfs(found.image)
    try {
      checkBinfs(reader)
    } catch (error) {
      throw named(error, found.bare)
    }
    const { inodeCount } = reader.image.superblock
    return await use({ ...found, root: reader.root, inodeCount })
  } finally {
    file.close()
  }
}

/** An error about a data block, with the path of what it belongs to where that can be told. */
export function named(error: unknown, bare: ByteSource): unknown {
  if (!(error instanceof CofferError) || error.reason !== "verity-data-block") return error
  const block = Number(error.facts["block"])
  const owner = attemptOwner(bare, block)
  if (owner === undefined) return error
  const { code, reason, hint = "", facts, cause } = error
  const detail = { hint, reason, facts: { ...facts, path: owner }, cause }
  return new CofferError(code, `${owner}: ${error.message}`, detail)
}

/** The tails of so many files in one block are named. */
const mostOwners = 8

function attemptOwner(bare: ByteSource, block: number): string | undefined {
  try {
    const owners = ownersOfBlock(openBinfs(bare), block, mostOwners + 1).map(displayName)
    if (owners.length === 0) return undefined
    const listed = owners.slice(0, mostOwners).join(", ")
    return owners.length > mostOwners ? `${listed} and more` : listed
  } catch {
    return undefined
  }
}

type Found = Omit<OpenedBinfs, "root" | "inodeCount">

function place(file: FileSource, path: string, wanted: Uint8Array | undefined): Found {
  const start = new Uint8Array(Math.min(file.size, 0x5000))
  file.read(start, 0)
  if (looksSealed(start)) return sealed(file, path, wanted)
  if (looksLikeBinfs(start)) return alone(file, path, wanted)
  throw new CofferError(
    "config",
    `${path}: wanted a binary filesystem or a sealed binary, found something else`,
    { hint: "make one with: coffer binfs create DIR|TAR OUT" },
  )
}

function sealed(file: FileSource, path: string, wanted: Uint8Array | undefined): Found {
  const { manifest } = readSealed(file)
  const { rootHash } = manifest.verity
  expectRoot(path, wanted, Uint8Array.fromHex(rootHash))
  const { offset, size: imageSize } = manifest.binfs
  return {
    image: openImage(file, manifest),
    bare: slice(file, offset, imageSize),
    imageSize,
    hashSize: manifest.verity.size,
    rootHash,
    rootFrom: "manifest",
  }
}

function alone(file: FileSource, path: string, wanted: Uint8Array | undefined): Found {
  const where = locateBinfs(file)
  const bare = slice(file, 0, where.imageSize)
  const { imageSize, hashSize } = where
  if (hashSize === undefined) return bareImage(path, bare, where, wanted)
  const stated = statedRootHash(file, where)
  expectRoot(path, wanted, stated)
  const rootFrom = wanted === undefined ? "file" : "option"
  const image = verifiedImage(file, where, stated)
  return { image, bare, imageSize, hashSize, rootHash: toHex(stated), rootFrom }
}

function bareImage(
  path: string,
  bare: ByteSource,
  { imageSize }: BinfsPlace,
  wanted: Uint8Array | undefined,
): Found {
  if (wanted !== undefined)
    throw new CofferError("config", `${path}: wanted a hash area behind the image, found none`, {
      hint: "the root hash can be compared only with one",
    })
  const none = { hashSize: undefined, rootHash: undefined, rootFrom: "none" } as const
  return { image: bare, bare, imageSize, ...none }
}

export function expectRoot(path: string, wanted: Uint8Array | undefined, found: Uint8Array): void {
  if (wanted === undefined || equalBytes(wanted, found)) return
  throw new CofferError(
    "integrity",
    `${path}: root hash: wanted ${toHex(wanted)}, found ${toHex(found)}`,
    { hint: "this is another filesystem, or it was changed", reason: "root-hash" },
  )
}

export function slice(file: ByteSource, offset: number, size: number): ByteSource {
  return { size, read: (target, position) => file.read(target, offset + position) }
}

export function parseRootHash(text: string): Uint8Array {
  const bytes = fromHex(text)
  if (bytes?.length === 32) return bytes
  throw new CofferError("usage", `--root-hash: wanted 64 hex digits, found '${text}'`)
}
