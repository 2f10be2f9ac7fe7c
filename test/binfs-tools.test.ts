import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { writeBinfs } from "../src/binfs/index.ts"
import { toHex, utf8OfByteString } from "../src/bytes/index.ts"
import { type DirectoryNode, directorySource, treeDigest } from "../src/tree/index.ts"
import {
  bytesOfSeed,
  directory,
  file,
  sampleTree,
  sparse,
  symlink,
} from "./support/binfs-sample.ts"

// What others' tools make of our images. The kernel and fsck need root.

const folder = mkdtempSync(join(tmpdir(), "coffer-binfs-tools-"))
const image = join(folder, "image")
after(() => rmSync(folder, { recursive: true }))

function run(...[command = "", ...args]: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" })
  assert.equal(status, 0, `${command} ${args.join(" ")}: ${stdout}${stderr}`)
  return stdout
}

function lacks(command: string): string | false {
  return spawnSync(command, ["--help"]).error === undefined ? false : `no ${command} here`
}

function lacksErofs(): string | false {
  if (process.getuid?.() !== 0) return "mounting needs root"
  spawnSync("modprobe", ["erofs"])
  const known = readFileSync("/proc/filesystems", "utf8").includes("erofs")
  return known ? false : "this kernel has no erofs"
}

function write(tree: DirectoryNode): ReturnType<typeof writeBinfs> {
  const fd = openSync(image, "w")
  try {
    return writeBinfs(tree, fd, 0)
  } finally {
    closeSync(fd)
  }
}

// Directories over several blocks, and a tail that does not fit.
function wideTree(): DirectoryNode {
  const names = Array.from({ length: 3000 }, (_, i) => `${i}-${"w".repeat(i % 200)}`)
  const leaves = names.map((name) => [name, symlink(name)] as const)
  const folders = names.slice(0, 700).map((name) => [`d${name}`, directory([])] as const)
  return directory([...leaves, ...folders, ["f", file(new Uint8Array(70_000))]])
}

test("the kernel sees the tree that was written", { skip: lacksErofs() }, () => {
  const target = join(folder, "mount")
  mkdirSync(target)
  for (const tree of [sampleTree(), wideTree(), directory([])]) {
    write(tree)
    run("mount", "-t", "erofs", "-o", "ro", image, target)
    try {
      assert.equal(treeDigest(directorySource(target)), treeDigest(tree))
    } finally {
      run("umount", target)
    }
  }
})

test("fsck.erofs is content, and what it extracts is the tree", {
  skip: lacks("fsck.erofs"),
}, () => {
  for (const tree of [sampleTree(), wideTree()]) {
    write(tree)
    run("fsck.erofs", image)
  }
  const plain = directory([
    ["a", file(readFileSync(import.meta.filename))],
    ["b", symlink("a")],
    ["c", directory([["d", file(new Uint8Array(100_000))]], { mode: 0o2755 })],
    // fsck.erofs 1.5 leaves null chunks out: holes point to a zero area instead.
    ["e", file(sparse(300_000, [[200_000, bytesOfSeed(3000, 1)]], true))],
    [
      "f",
      file(
        sparse(
          300_000,
          [
            [0, bytesOfSeed(3000, 1)],
            [290_000, bytesOfSeed(9, 1)],
          ],
          true,
        ),
      ),
    ],
  ])
  write(plain)
  const target = join(folder, "extracted")
  run("fsck.erofs", `--extract=${target}`, image)
  assert.equal(treeDigest(directorySource(target)), treeDigest(plain))
})

test("veritysetup accepts the hash area behind the image", { skip: lacks("veritysetup") }, () => {
  for (const tree of [sampleTree(), directory([])]) {
    const { imageSize, rootHash } = write(tree)
    const place = [`--hash-offset=${imageSize}`, `--data-blocks=${imageSize / 4096}`]
    const how = ["--no-superblock", "--salt", "-", ...place]
    run("veritysetup", "verify", ...how, image, image, toHex(rootHash))
  }
})

test("names in any bytes reach the kernel", { skip: lacksErofs() }, () => {
  const name = utf8OfByteString("ü".repeat(127))
  const tree: DirectoryNode = {
    ...directory([]),
    children: new Map([[name, file(new Uint8Array(3))]]),
  }
  write(tree)
  const target = join(folder, "mount-names")
  mkdirSync(target)
  run("mount", "-t", "erofs", "-o", "ro", image, target)
  try {
    assert.deepEqual([...directorySource(target).children.keys()], [name])
  } finally {
    run("umount", target)
  }
})
