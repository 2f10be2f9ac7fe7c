import assert from "node:assert/strict"
import { test } from "node:test"
import type { ByteString } from "../../src/bytes/index.ts"
import { CofferError } from "../../src/errors.ts"
import {
  type Content,
  contentOfBytes,
  type DirectoryNode,
  dumpTree,
  type Metadata,
  type TreeNode,
} from "../../src/tree/index.ts"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { exportTree } from "../../src/volume/fs/export-tree.ts"
import { importTree } from "../../src/volume/fs/import-tree.ts"
import { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import type { FrameStore } from "../../src/volume/index.ts"
import { MemoryStore } from "../../src/volume/store/memory-store.ts"

const root = "/" as ByteString

function meta(change: Partial<Metadata> = {}): Metadata {
  return {
    mode: 0o640,
    uid: 7,
    gid: 8,
    mtime: { seconds: -3, nanoseconds: 999_999_999 },
    xattrs: [],
    ...change,
  }
}

function name(text: string): ByteString {
  return text as ByteString
}

const bytes = Buffer.alloc(300_000, "some text that repeats. ")
const sparse: Content = {
  size: 3_000_000,
  ranges: [
    { offset: 4096, size: 8192 },
    { offset: 2_000_000, size: 5 },
  ],
  read(target, position) {
    for (let i = 0; i < target.length; i += 1) {
      const at = position + i
      const data = (at >= 4096 && at < 12_288) || (at >= 2_000_000 && at < 2_000_005)
      target[i] = data ? 65 + (at % 7) : 0
    }
  },
}
const acl = Buffer.from(
  "0200000001000700ffffffff020006000700000004000500ffffffff10000700ffffffff20000400ffffffff",
  "hex",
)

function sample(): DirectoryNode {
  const file: TreeNode = {
    kind: "file",
    meta: meta({ mode: 0o6755 }),
    content: contentOfBytes(bytes),
  }
  const capable = meta({
    mode: 0o755,
    xattrs: [
      { name: name("security.capability"), value: Buffer.from("0100000200040000", "hex") },
      { name: name("user.large"), value: Buffer.alloc(20_000, 9) },
    ],
  })
  const inner: DirectoryNode = {
    kind: "directory",
    meta: meta({ mode: 0o2775, xattrs: [{ name: name("system.posix_acl_default"), value: acl }] }),
    children: new Map<ByteString, TreeNode>([
      [name("again"), file],
      [name("empty"), { kind: "file", meta: meta(), content: contentOfBytes(new Uint8Array()) }],
      [
        name("n".repeat(255)),
        { kind: "symlink", meta: meta({ mode: 0o777 }), target: name("x/\xfe") },
      ],
    ]),
  }
  return {
    kind: "directory",
    meta: meta({ mode: 0o1777 }),
    children: new Map<ByteString, TreeNode>([
      [name("file"), file],
      [
        name("capable"),
        { kind: "file", meta: capable, content: contentOfBytes(bytes.subarray(9)) },
      ],
      [name("inner"), inner],
      [name("pipe"), { kind: "fifo", meta: meta() }],
      [name("socket"), { kind: "socket", meta: meta() }],
      [name("disk"), { kind: "block", meta: meta(), major: 4000, minor: 1_000_000 }],
      [name("sparse"), { kind: "file", meta: meta(), content: sparse }],
    ]),
  }
}

function open(store: MemoryStore, on: FrameStore = store): VolumeFileSystem {
  return new VolumeFileSystem(on, store.recovery(), { random: () => [1, 2] })
}

test("a tree survives the way in and out, and a mount between", () => {
  const store = new MemoryStore()
  const first = open(store)
  importTree(first, sample(), root)
  assert.deepEqual(checkIndex(first.core), [])
  first.destroy()
  const second = open(store)
  assert.deepEqual([...dumpTree(exportTree(second, root))], [...dumpTree(sample())])
})

test("what is there already is not written over", () => {
  const fs = open(new MemoryStore())
  importTree(fs, sample(), root)
  assert.throws(() => importTree(fs, sample(), root), { code: "usage" })
  assert.throws(() => importTree(fs, sample(), name("/none")), { code: "missing" })
})

test("salvage gets out what is intact", () => {
  const store = new MemoryStore()
  const first = open(store)
  importTree(first, sample(), root)
  first.destroy()
  let reads = 0
  // The fifth frame of data, and each read of it, is damaged.
  let damaged = -1
  const broken: FrameStore = new Proxy(store, {
    get(target, key) {
      if (key !== "read") {
        const value = Reflect.get(target, key) as unknown
        return typeof value === "function" ? (value.bind(target) as unknown) : value
      }
      return (...call: Parameters<FrameStore["read"]>) => {
        const [kind, place] = call
        if (kind === "data" && damaged < 0 && ++reads === 5) damaged = place.offset
        if (kind === "data" && place.offset === damaged)
          throw new CofferError("integrity", "a damaged frame")
        target.read(...call)
      }
    },
  })
  const fs = open(store, broken)
  const found: string[] = []
  const options = { salvage: (path: ByteString) => void found.push(path) }
  const salvaged = [...dumpTree(exportTree(fs, root, options))]
  const whole = [...dumpTree(sample())]
  const different = whole.filter((line, i) => line !== salvaged[i])
  assert.equal(salvaged.length, whole.length)
  assert.equal(new Set(found).size, 1)
  assert.ok(different.length === 1 || different.length === 2, different.join("\n"))
  assert.throws(
    () => [...dumpTree(exportTree(fs, root))],
    (error) =>
      error instanceof CofferError &&
      error.code === "integrity" &&
      typeof error.facts["path"] === "string" &&
      found.some((path) => path === error.facts["path"]),
  )
})
