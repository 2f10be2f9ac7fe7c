import assert from "node:assert/strict"
import { test } from "node:test"
import { type ByteString, utf8OfByteString } from "../bytes/index.ts"
import { parseManifest, serialiseManifest } from "../manifest/index.ts"
import { contentOfBytes, type DirectoryNode, type TreeNode } from "../tree/index.ts"
import { archOf, findExecutable, textFile } from "./executable.ts"
import { inventory } from "./inventory.ts"
import { diffTrees } from "./tree-diff.ts"

const meta = { mode: 0o755, uid: 0, gid: 0, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: [] }

function dir(children: Readonly<Record<string, TreeNode>>): DirectoryNode {
  const entries = Object.entries(children)
  return {
    kind: "directory",
    meta,
    children: new Map(entries.map(([name, node]) => [utf8OfByteString(name), node])),
  }
}

function file(content: string, changes: Partial<typeof meta> = {}): TreeNode {
  const bytes = Buffer.from(content, "latin1")
  return { kind: "file", meta: { ...meta, ...changes }, content: contentOfBytes(bytes) }
}

function link(target: string): TreeNode {
  return { kind: "symlink", meta: { ...meta, mode: 0o777 }, target: utf8OfByteString(target) }
}

const elf = `\x7fELF\x02\x01${"\0".repeat(12)}\xb7\0${"\0".repeat(40)}`

const root = dir({
  bin: link("usr/bin"),
  usr: dir({
    bin: dir({
      app: file(elf),
      run: file("#!/bin/app -x\n"),
      text: file("text"),
      plain: file("x", { mode: 0o644 }),
      up: link("../../../../bin/app"),
      loop: link("loop"),
    }),
  }),
  etc: dir({ passwd: file("root:x:0:0:::") }),
})

test("executables are found by path and by PATH, through symlinks that stay inside", () => {
  assert.equal(findExecutable(root, "/bin/app", {}), "/bin/app")
  assert.equal(findExecutable(root, "app", {}), "/usr/bin/app")
  assert.equal(findExecutable(root, "app", { PATH: "relative:/nowhere:/bin/" }), "/bin/app")
  assert.equal(findExecutable(root, "/bin/up", {}), "/bin/up")
  for (const name of ["none", "/none", "/bin", "plain", "bin/app", "/bin/loop", "/bin/app/x", ""])
    assert.throws(() => findExecutable(root, name, {}), { code: "config" }, name)
})

test("the architecture is the executable's, or its interpreter's", () => {
  assert.equal(archOf(root, "/bin/app"), "aarch64")
  assert.equal(archOf(root, "/bin/run"), "aarch64")
  assert.equal(archOf(root, "/bin/text"), undefined)
  assert.equal(archOf(root, "/bin/none"), undefined)
  assert.equal(textFile(root, "/etc/passwd"), "root:x:0:0:::")
  assert.equal(textFile(root, "/etc/none"), "")
})

test("a difference of trees names every place and what differs there", () => {
  const before = dir({
    same: file("s"),
    text: file("one"),
    longer: file("1"),
    mode: file("m"),
    kind: dir({ inner: file("i") }),
    gone: dir({ deep: file("d") }),
    link: link("a"),
    xattr: file("x"),
  })
  const xattrs = [{ name: "user.a" as ByteString, value: Buffer.from("v") }]
  const after = dir({
    same: file("s"),
    text: file("two"),
    longer: file("12"),
    mode: file("m", { mode: 0o700, uid: 5, mtime: { seconds: 2, nanoseconds: 0 } }),
    kind: file("k"),
    link: link("b"),
    new: dir({ deep: file("d") }),
    xattr: { ...file("x"), meta: { ...meta, xattrs } },
  })
  const lines = diffTrees(before, after).map(
    ({ path, change, what }) => `${change} ${path} ${what.join(", ")}`,
  )
  assert.deepEqual(lines, [
    "removed /gone ",
    "removed /gone/deep ",
    "changed /kind kind (directory, file)",
    "removed /kind/inner ",
    "changed /link target (a, b)",
    "changed /longer content (1 bytes, 2 bytes)",
    "changed /mode mode (0755, 0700), owner (0:0, 5:0), mtime",
    "added /new ",
    "added /new/deep ",
    "changed /text content",
    "changed /xattr xattrs",
  ])
  assert.deepEqual(diffTrees(before, before), [])
})

test("every path has the class of the longest region that holds it", () => {
  const bytes = serialiseManifest({
    format: "coffer/manifest/1",
    arch: "aarch64",
    name: "x",
    binary: "/bin/app",
    argv: ["app"],
    args: { allow: [] },
    cwd: "/",
    user: { uid: 0, gid: 0, groups: [] },
    env: { set: {}, allow: {} },
    exec: [],
    stdin: "none",
    readOnly: false,
    debug: false,
    stopSignal: "SIGTERM",
    regions: [
      { kind: "host", path: "/etc/passwd", format: "file" },
      { kind: "scratch", path: "/usr", exec: false },
      { kind: "measured", path: "/usr/bin" },
    ],
    binfs: { offset: 0x5000, size: 4096 },
    verity: { offset: 0x6000, size: 0, rootHash: "0".repeat(64) },
  })
  const found = inventory(root, parseManifest(bytes))
  assert.deepEqual(
    found.slice(0, 3).map((entry) => `${entry.class} ${entry.path}`),
    ["none /etc/passwd", "encrypted /usr", "measured /"],
  )
  assert.ok(found.some((entry) => entry.path === "/usr/bin/app" && entry.class === "measured"))
})
