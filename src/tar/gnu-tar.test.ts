import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { sampleTree } from "../../test/support/sample-tree.ts"
import type { ByteString } from "../bytes/index.ts"
import { concatBytes } from "../bytes/index.ts"
import {
  contentOfBytes,
  type DirectoryNode,
  directorySource,
  dumpTree,
  extractTree,
  isWholeData,
  treeDigest,
} from "../tree/index.ts"
import { tarSourceOfFile, treeFromTar, writeTar } from "./index.ts"

// Our reader and writer against GNU tar, both ways.

const folder = mkdtempSync(join(tmpdir(), "coffer-tar-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const rootOnly = { skip: process.getuid?.() === 0 ? false : "needs root" }

function tar(...args: readonly string[]): void {
  execFileSync("tar", ["--numeric-owner", ...args], { stdio: ["ignore", "ignore", "pipe"] })
}

function withTree<T>(file: string, use: (tree: DirectoryNode) => T): T {
  const fd = openSync(file, "r")
  try {
    return use(treeFromTar(tarSourceOfFile(fd)))
  } finally {
    closeSync(fd)
  }
}

function tarBytes(tree: DirectoryNode): Uint8Array {
  const parts: Uint8Array[] = []
  writeTar(tree, (bytes) => parts.push(Uint8Array.from(bytes)))
  return concatBytes(...parts)
}

const xattrs = ["--xattrs", "--xattrs-include=*", "--acls"]

function sampleFolder(name: string): string {
  const path = join(folder, name)
  extractTree(sampleTree({ sockets: false }), path)
  return path
}

test("what GNU tar writes in PAX is read exactly, in each sparse format", rootOnly, () => {
  const source = sampleFolder("pax")
  const wanted = [...dumpTree(directorySource(source))]
  for (const sparse of [[], ["0.0"], ["0.1"], ["1.0"]]) {
    const file = join(folder, "pax.tar")
    const flags = sparse.flatMap((version) => ["--sparse", `--sparse-version=${version}`])
    tar("-C", source, "--format=pax", ...xattrs, ...flags, "-cf", file, ".")
    withTree(file, (tree) => {
      assert.deepEqual([...dumpTree(tree)], wanted, sparse.join())
      const found = tree.children.get("sparse" as ByteString)
      assert.ok(found?.kind === "file")
      assert.equal(isWholeData(found.content.size, found.content.ranges), sparse.length === 0)
    })
  }
})

// These formats have whole seconds, no xattrs, and times from 1970 only.
test("what GNU tar writes in the formats of gnu and oldgnu is read", rootOnly, () => {
  const source = sampleFolder("gnu")
  tar("-C", source, "--format=gnu", "-cf", join(folder, "first.tar"), ".")
  const plain = join(folder, "plain")
  mkdirSync(plain)
  tar("-C", plain, "--sparse", "-xpf", join(folder, "first.tar"))
  const wanted = [...dumpTree(directorySource(plain))]
  for (const format of ["gnu", "oldgnu"]) {
    for (const flags of [[], ["--sparse"]]) {
      const file = join(folder, `${format}.tar`)
      tar("-C", plain, `--format=${format}`, ...flags, "-cf", file, ".")
      withTree(file, (tree) => assert.deepEqual([...dumpTree(tree)], wanted, format))
    }
  }
})

test("what GNU tar writes in the formats of ustar and v7 is read", () => {
  const source = join(folder, "short")
  mkdirSync(join(source, "a".repeat(90), "b".repeat(60)), { recursive: true })
  writeFileSync(join(source, "a".repeat(90), "b".repeat(60), "file"), "content")
  mkdirSync(join(folder, "tiny/dir"), { recursive: true })
  writeFileSync(join(folder, "tiny/dir/file"), "content")
  for (const [format, from] of [
    ["ustar", source],
    ["v7", join(folder, "tiny")],
  ] as const) {
    const file = join(folder, `${format}.tar`)
    tar("-C", from, "--mtime=@1234567890", `--format=${format}`, "-cf", file, ".")
    withTree(file, (tree) => assert.deepEqual(timeless(tree), timeless(directorySource(from))))
  }
})

function timeless(tree: DirectoryNode): string[] {
  return [...dumpTree(tree)].map((line) => line.split(" ").toSpliced(5, 1).join(" "))
}

test("GNU tar reads what we write, and the tree is the same", rootOnly, () => {
  const tree = sampleTree({ sockets: false })
  const file = join(folder, "ours.tar")
  writeFileSync(file, tarBytes(tree))
  const target = join(folder, "ours")
  mkdirSync(target)
  tar("-C", target, ...xattrs, "-xpf", file)
  const back = directorySource(target)
  assert.deepEqual([...dumpTree(back)], [...dumpTree(tree)])
  const sparse = back.children.get("sparse" as ByteString)
  assert.ok(sparse?.kind === "file" && sparse.content.ranges.length === 2)
  assert.equal(String(execFileSync("tar", ["-tf", file, "-R"])).includes("sparse"), true)
})

test("what we write is a function of the tree, and comes back from us with sockets", () => {
  const tree = sampleTree({ sockets: true })
  const bytes = tarBytes(tree)
  assert.deepEqual(tarBytes(sampleTree({ sockets: true })), bytes)
  const back = treeFromTar(contentOfBytes(bytes))
  assert.deepEqual([...dumpTree(back)], [...dumpTree(tree)])
  assert.equal(treeDigest(back), treeDigest(tree))
  assert.deepEqual(tarBytes(back), bytes)
})

test("progress ends at the total", () => {
  const seen: [number, number | undefined][] = []
  writeTar(
    sampleTree({ sockets: true }),
    () => undefined,
    (done, total) => seen.push([done, total]),
  )
  const [done, total] = seen.at(-1) ?? []
  assert.ok(done === total && total !== undefined && total > 70_000)
})
