import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { type ByteString, bytesOf, toHex } from "../../src/bytes/index.ts"
import { sha256 } from "../../src/crypto/index.ts"
import { type DirectoryNode, type TreeNode, walk } from "../../src/tree/index.ts"
import {
  createStore,
  exportTree,
  NodeDisk,
  openOnce,
  openVolume,
  PinFile,
  type Protection,
  type VolumeFileSystem,
  writeOnce,
} from "../../src/volume/index.ts"
import { MemoryFileSystem } from "../suites/memory-fs.ts"
import { sampleTree } from "../support/sample-tree.ts"
import { randomOf, Twins } from "../volume/model.ts"

const key = new Uint8Array(32).fill(9)
const done = { waiting: true, done: () => undefined }
const works = spawnSync("python3", ["-c", "import cryptography"]).status === 0
const skip = works ? false : "python3 with python3-cryptography is not there"
const decoder = join(import.meta.dirname, "volume_tree_decoder.py")

interface Decoded {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly inode: number
  readonly mtime: readonly [number, number]
  readonly xattrs: Readonly<Record<string, string>>
  readonly sha256?: string
  readonly size?: number
  readonly target?: string
  readonly device?: number
}

function hexPath(path: ByteString): string {
  return path
    .split("/")
    .map((name) => toHex(bytesOf(name as ByteString)))
    .join("/")
}

const typeOf: Readonly<Record<TreeNode["kind"], number>> = {
  fifo: 1,
  character: 2,
  directory: 4,
  block: 6,
  file: 8,
  symlink: 10,
  socket: 12,
}

function expectedOf(node: TreeNode): Omit<Decoded, "inode"> {
  const { mode, uid, gid, mtime, xattrs } = node.meta
  const common = {
    mode: typeOf[node.kind] * 4096 + mode,
    uid,
    gid,
    mtime: [mtime.seconds, mtime.nanoseconds] as const,
    xattrs: Object.fromEntries(
      xattrs.map(({ name, value }) => [toHex(bytesOf(name)), toHex(value)]),
    ),
  }
  if (node.kind === "symlink") return { ...common, target: toHex(bytesOf(node.target)) }
  if (node.kind === "character" || node.kind === "block") {
    const { major, minor } = node
    const device = ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
    return { ...common, device }
  }
  if (node.kind !== "file") return common
  const bytes = new Uint8Array(node.content.size)
  node.content.read(bytes, 0)
  return { ...common, sha256: toHex(sha256(bytes)), size: bytes.length }
}

function compare(t: TestContext, folder: string, fs: VolumeFileSystem): void {
  compareTree(t, folder, exportTree(fs, "/" as ByteString))
}

function compareTree(t: TestContext, folder: string, tree: DirectoryNode): void {
  // A copy, as a power cut would leave it: the writer is still there.
  cpSync(join(folder, "volume"), join(folder, "copy"), { recursive: true })
  const args = [decoder, join(folder, "copy"), join(folder, "pin"), join(folder, "key")]
  const run = spawnSync("python3", args, { encoding: "utf8", maxBuffer: 1 << 28 })
  assert.equal(run.status, 0, run.stderr)
  rmSync(join(folder, "copy"), { recursive: true })
  const found = JSON.parse(run.stdout) as Readonly<Record<string, Decoded>>
  let count = 0
  for (const { path, node } of walk(tree)) {
    const { inode, ...have } = found[hexPath(path === "/" ? ("" as ByteString) : path)] ?? {
      inode: 0,
    }
    assert.deepEqual(have, expectedOf(node), `${path}, inode ${inode}`)
    count += 1
  }
  assert.equal(Object.keys(found).length, count)
  t.diagnostic(`${count} paths`)
}

for (const protection of ["encrypted", "authenticated"] satisfies Protection[])
  test(`a second decoder reads the filesystem of an ${protection} volume`, { skip }, (t) => {
    const folder = mkdtempSync(join(tmpdir(), "coffer-tree-"))
    t.after(() => rmSync(folder, { recursive: true }))
    const directory = join(folder, "volume")
    const pin = join(folder, "pin")
    writeFileSync(join(folder, "key"), key)
    const anchor = PinFile.create(pin)
    createStore({ disk: new NodeDisk(directory), key, protection, anchor }).store.close()
    anchor.close()
    const fs = openVolume({ directory, key, pin }, (error) => {
      throw error
    })
    const limits = { names: 30, fileSize: 200_000, writeSize: 120_000 }
    const twins = new Twins(new MemoryFileSystem(), fs, randomOf(17), limits)
    for (let round = 0; round < 4; round += 1) {
      for (let i = 0; i < 250; i += 1) twins.step()
      if (round === 2) fs.compact(() => undefined)
      assert.equal(fs.fsync(1, false, done), 0)
      compare(t, folder, fs)
    }
    fs.destroy()
  })

test("a second decoder reads a store that was written once, from its tag", { skip }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-store-"))
  t.after(() => rmSync(folder, { recursive: true }))
  const directory = join(folder, "volume")
  const tree = sampleTree({ sockets: true })
  const { tag } = writeOnce({ directory, key, name: "model", tree, onProgress: () => undefined })
  const opened = openOnce({ disk: new NodeDisk(directory), key, tag })
  opened.store.close()
  const [segment = ""] = readdirSync(join(directory, "segments"))
  // Its last frame is a close commit of 180 bytes: spec/volume.md section 14.
  const offset = statSync(join(directory, "segments", segment)).size - 180
  const anchor = PinFile.create(join(folder, "pin"))
  const salt = Buffer.from(segment, "hex")
  assert.ok(anchor.move("new", { ...opened.info, epoch: 1, salt, offset }))
  anchor.close()
  writeFileSync(join(folder, "key"), key)
  compareTree(t, folder, tree)
})
