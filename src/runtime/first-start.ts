import { readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { type ByteString, utf8OfByteString } from "../bytes/index.ts"
import { isErrno } from "../errors.ts"
import type { DirectoryNode } from "../tree/index.ts"
import {
  answerOf,
  importTree,
  newAttributes,
  type Recovery,
  type VolumeFileSystem,
} from "../volume/index.ts"

// The first start of a volume may be cut at any place. What it leaves must not strand the volume, and must not pass for it.

const rootInode = 1
const rootPath = utf8OfByteString("/")
/** An xattr of the root while the image's content is being copied in. */
const marker = utf8OfByteString("user.coffer.seeding")
const dots = new Set(["", ".", ".."])

/**
 * Empties the directory of a volume that the CAS calls new, when what is there is a creation of this very volume that was
 * never anchored: nobody was told of anything in it. Everything else stays, and is an error later.
 */
export function clearUnanchored(directory: string, volumeId: Uint8Array): void {
  const names = namesIn(directory)
  if (names.some((name) => !["header", "lock", "segments", "lost+found"].includes(name))) return
  const header = names.includes("header") ? readFileSync(join(directory, "header")) : undefined
  if (header === undefined || header.length === 0) {
    if (namesIn(join(directory, "segments")).length > 0) return
  } else if (!header.includes(volumeId)) return
  // The header last: without it what is left is nobody's.
  for (const name of ["segments", "lock", "header"])
    rmSync(join(directory, name), { recursive: true, force: true })
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return []
    throw error
  }
}

/** Has the image's content never been copied in wholly? True for a volume where nothing was ever made, too. */
export function wantsSeed(fs: VolumeFileSystem, { checkpoint, records }: Recovery): boolean {
  if (checkpoint === undefined) return true
  const names = fs.listxattr(rootInode)
  if (typeof names !== "number" && names.includes(marker)) return true
  for (const _ of records) return false
  return entriesOf(fs, rootInode).length === 0
}

/** Copies a directory of the image in. Cut at any place, the next start begins again from nothing. */
export function seedVolume(fs: VolumeFileSystem, tree: DirectoryNode): void {
  answerOf(fs.setxattr(rootInode, marker, new Uint8Array(0), 0, false), rootPath)
  makeDurable(fs)
  removeAll(fs, rootInode)
  importTree(fs, tree, rootPath)
  answerOf(fs.removexattr(rootInode, marker), rootPath)
  makeDurable(fs)
}

function makeDurable(fs: VolumeFileSystem): void {
  answerOf(fs.fsync(rootInode, false, { waiting: true, done: () => undefined }), rootPath)
}

interface Entry {
  readonly name: ByteString
  readonly inode: number
}

function entriesOf(fs: VolumeFileSystem, directory: number): Entry[] {
  const entries: Entry[] = []
  const answer = fs.readdir(directory, 0, (name, inode) => {
    if (!dots.has(name)) entries.push({ name, inode })
    return true
  })
  answerOf(answer, rootPath)
  return entries
}

function removeAll(fs: VolumeFileSystem, directory: number): void {
  const out = newAttributes()
  for (const { name, inode } of entriesOf(fs, directory)) {
    answerOf(fs.lookup(directory, name, out), name)
    if ((out.mode & 0o170000) === 0o040000) {
      removeAll(fs, inode)
      answerOf(fs.rmdir(directory, name), name)
    } else answerOf(fs.unlink(directory, name), name)
  }
}
