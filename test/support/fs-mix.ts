import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"

const block = Buffer.alloc(300_000, "some text that is written again and again ")
const target = Buffer.alloc(65_536)

/** A random name in one of a few directories: names meet again and again, so most operations hit something. */
function anyPath(root: string, random: () => number): string {
  const deep = Math.floor(random() * 3)
  const names = Array.from({ length: deep + 1 }, () => `n${Math.floor(random() * 12)}`)
  return join(root, ...names)
}

function withFile(path: string, flags: string, use: (fd: number) => void): void {
  const fd = openSync(path, flags)
  try {
    use(fd)
  } finally {
    closeSync(fd)
  }
}

type Step = (path: string, other: string, random: () => number) => void

const write: Step = (path, _other, random) =>
  withFile(path, random() < 0.5 ? "a" : "r+", (fd) => {
    writeSync(fd, block, 0, 1 + Math.floor(random() ** 3 * block.length), null)
    if (random() < 0.2) fsyncSync(fd)
  })

const heldOpen: Step = (path, other) =>
  withFile(path, "r+", (fd) => {
    unlinkSync(path)
    writeSync(fd, block, 0, 5000, 100_000)
    try {
      renameSync(other, path)
    } finally {
      readSync(fd, target, 0, 5000, 100_000)
    }
  })

const steps: readonly Step[] = [
  (path) => mkdirSync(path),
  (path) => withFile(path, "wx", (fd) => writeSync(fd, block, 0, 100)),
  (path) => withFile(path, "w", (fd) => writeSync(fd, block, 0, 20_000)),
  write,
  write,
  (path) => withFile(path, "r", (fd) => readSync(fd, target)),
  (path, _other, random) =>
    withFile(path, "r+", (fd) => ftruncateSync(fd, Math.floor(random() * 500_000))),
  (path, other) => renameSync(path, other),
  (path, other) => linkSync(path, other),
  (path, other) => symlinkSync(path, other),
  (path) => unlinkSync(path),
  (path) => rmdirSync(path),
  (path) => readdirSync(path),
  (path) => statSync(path),
  heldOpen,
]

/** So many random operations below `root`. Those that make no sense are refused, which is part of the mix; EIO is not. */
export function mixedOperations(root: string, count: number, random: () => number): void {
  for (let i = 0; i < count; i += 1) {
    const step = steps[Math.floor(random() * steps.length)]
    try {
      step?.(anyPath(root, random), anyPath(root, random), random)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === undefined || code === "EIO" || code === "ENOTCONN") throw error
    }
  }
}
