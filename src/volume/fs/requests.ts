import { constants } from "node:os"
import { type ByteString, displayName } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import type { AttributeChange, Attributes } from "../../fuse/index.ts"
import { rootInode } from "./keys.ts"
import type { VolumeFileSystem } from "./volume-fs.ts"

/** An object to be filled. */
export function newAttributes(): Attributes {
  return {
    inode: 0,
    size: 0,
    blocks: 0,
    mode: 0,
    linkCount: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blockSize: 0,
    atimeSeconds: 0,
    atimeNanoseconds: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    ctimeSeconds: 0,
    ctimeNanoseconds: 0,
  }
}

export const noChange: AttributeChange = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  size: undefined,
  atime: undefined,
  mtime: undefined,
  ctime: undefined,
  killPriv: false,
}

const nameOfErrno = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]))

/** A verb's answer when it is no error, else that error about `path`. */
export function answerOf<T>(answer: T, path: ByteString): Exclude<T, number> | number {
  if (typeof answer !== "number" || answer >= 0) return answer as Exclude<T, number> | number
  const errno = nameOfErrno.get(-answer) ?? String(answer)
  const code = errno === "ENOENT" ? "missing" : errno === "EEXIST" ? "usage" : "io"
  throw new CofferError(code, `${displayName(path)}: ${wordsOf[errno] ?? "failed"} (${errno})`, {
    facts: { errno, path: displayName(path) },
    ...(errno === "ENOSPC" ? { hint: roomHint } : {}),
  })
}

const roomHint =
  "make room on the volume's disk, or delete files in the volume; what was written before stays"

const wordsOf: Readonly<Record<string, string>> = {
  ENOENT: "not in the volume",
  EEXIST: "is in the volume already",
  ENOSPC: "the disk is full",
  EROFS: "the volume takes no changes",
  ENOTDIR: "not a directory",
  EINVAL: "not of that kind",
}

/** The inode at a path of the volume, `/` or `/a/b`. Symlinks are not followed. */
export function inodeAt(fs: VolumeFileSystem, path: ByteString, out: Attributes): number {
  fs.getattr(rootInode, out)
  for (const name of path.split("/")) {
    if (name === "" || name === ".") continue
    answerOf(fs.lookup(out.inode, name as ByteString, out), path)
  }
  return out.inode
}
