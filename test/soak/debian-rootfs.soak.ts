import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { checkBinfs, createBinfsFile, openBinfs } from "../../src/binfs/index.ts"
import { toHex } from "../../src/bytes/index.ts"
import { tarSourceOfFile, treeFromTar } from "../../src/tar/index.ts"
import { type DirectoryNode, directorySource, dumpTree, treeDigest } from "../../src/tree/index.ts"
import { debianRootfs, lacksDebian } from "../support/debian.ts"

function run(...[command = "", ...args]: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" })
  assert.equal(status, 0, `${command} ${args.join(" ")}: ${stdout}${stderr}`)
  return stdout
}

/**
 * The lines of a tree without what fsck.erofs 1.5 does not extract, from the images of mkfs.erofs neither: xattrs, hard
 * links (it makes copies), and setuid and setgid of files (it changes the owner last, which clears them). The kernel's
 * mount is compared whole.
 */
function extractable(tree: DirectoryNode): string[] {
  return Array.from(dumpTree(unlinked(tree)), (line) =>
    line.slice(0, line.lastIndexOf(" ")).replace(/^(\S+ file) [0-7]/, "$1 0"),
  )
}

/** With a node of its own in every place. */
function unlinked(node: DirectoryNode): DirectoryNode {
  const children = Array.from(
    node.children,
    ([name, child]) => [name, child.kind === "directory" ? unlinked(child) : { ...child }] as const,
  )
  return { ...node, children: new Map(children) }
}

for (const name of ["python3", "nodejs"] as const)
  test(`a Debian root with ${name} is the same everywhere`, { skip: lacksDebian() }, (context) => {
    const tar = debianRootfs(name)
    const folder = mkdtempSync(join(tmpdir(), "coffer-debian-"))
    const [source, image, mount] = ["source", "image", "mount"].map((part) => join(folder, part))
    assert.ok(source !== undefined && image !== undefined && mount !== undefined)
    try {
      mkdirSync(source)
      mkdirSync(mount)
      run("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xf", tar, "-C", source)
      const tree = directorySource(source)
      const wanted = treeDigest(tree)
      const { imageSize, rootHash, inodeCount } = createBinfsFile(tree, image)
      context.diagnostic(`${imageSize} bytes, ${inodeCount} inodes, root ${toHex(rootHash)}`)
      fromTar(tar, `${image}-tar`, rootHash)
      run("cmp", image, `${image}-tar`)
      rmSync(`${image}-tar`)
      readBack(image, imageSize, wanted)
      run("mount", "-t", "erofs", "-o", "ro", image, mount)
      try {
        assert.equal(treeDigest(directorySource(mount)), wanted)
      } finally {
        run("umount", mount)
      }
      verity(image, imageSize, toHex(rootHash))
      run("fsck.erofs", `--extract=${join(folder, "extracted")}`, image)
      assert.deepEqual(extractable(directorySource(join(folder, "extracted"))), extractable(tree))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

function fromTar(tar: string, out: string, wanted: Uint8Array): void {
  const fd = openSync(tar, "r")
  try {
    const { rootHash } = createBinfsFile(treeFromTar(tarSourceOfFile(fd)), out)
    assert.equal(toHex(rootHash), toHex(wanted))
  } finally {
    closeSync(fd)
  }
}

function readBack(image: string, size: number, wanted: string): void {
  const fd = openSync(image, "r")
  try {
    const file = tarSourceOfFile(fd)
    const reader = openBinfs({ size, read: (target, at) => file.read(target, at) })
    checkBinfs(reader)
    assert.equal(treeDigest(reader.root), wanted)
  } finally {
    closeSync(fd)
  }
}

function verity(image: string, size: number, rootHash: string): void {
  const how = ["--no-superblock", "--salt", "-", "--hash", "sha256"]
  const place = [`--hash-offset=${size}`, `--data-blocks=${size / 4096}`]
  run("veritysetup", "verify", ...how, ...place, image, image, rootHash)
  const blocks = `--data-blocks=${size / 4096}`
  const made = run("veritysetup", "format", ...how, blocks, image, `${image}.tree`)
  assert.match(made, new RegExp(`Root hash:\\s+${rootHash}`))
}
