import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { flipped } from "../../test/support/flip.ts"
import { meta, sampleTree } from "../../test/support/sample-tree.ts"
import { utf8, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { contentOfBytes, type DirectoryNode, TreeBuilder, treeDigest } from "../tree/index.ts"
import {
  ExtentDisk,
  exportTree,
  type FileExtent,
  fileSystemOn,
  NodeDisk,
  openOnce,
  writeOnce,
} from "./index.ts"

const key = Buffer.alloc(32, 7)
const root = utf8OfByteString("/")

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "written-once-"))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function write(directory: string, tree: DirectoryNode, secret: Uint8Array | undefined): Uint8Array {
  const input = { directory, key: secret, name: "model", tree, onProgress: () => undefined }
  return writeOnce(input).tag
}

/** Every file of a store, by its name. */
function filesOf(directory: string): Map<string, Uint8Array> {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" }).toSorted()
  return new Map(
    names
      .filter((name) => statSync(join(directory, name)).isFile())
      .map((name) => [name, readFileSync(join(directory, name))]),
  )
}

/** Reads everything that is in it; a fault is thrown. */
function digestAt(
  disk: NodeDisk | ExtentDisk,
  secret: Uint8Array | undefined,
  tag: Uint8Array,
): string {
  const opened = openOnce({ disk, key: secret, tag })
  const fs = fileSystemOn(opened, { readOnly: true }, () => undefined)
  try {
    return treeDigest(exportTree(fs, root))
  } finally {
    fs.destroy()
  }
}

function small(text: string): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  tree.put(utf8OfByteString("/model.bin"), {
    kind: "file",
    meta: meta(),
    content: contentOfBytes(utf8(text)),
  })
  return tree.finish()
}

for (const secret of [key, undefined])
  test(`${secret === undefined ? "authenticated" : "encrypted"}: the same content gives the same bytes, and is read again`, (t) => {
    const [one, two] = [join(scratch(t), "a"), join(scratch(t), "b")]
    const tree = sampleTree({ sockets: true })
    const tag = write(one, tree, secret)
    assert.deepEqual(write(two, tree, secret), tag)
    assert.deepEqual(filesOf(two), filesOf(one))
    assert.equal(digestAt(new NodeDisk(one), secret, tag), treeDigest(tree))
    const other = join(scratch(t), "c")
    assert.notDeepEqual(write(other, small("x"), secret), tag)
  })

test("another key gives other bytes, and opens nothing", (t) => {
  const [one, two] = [join(scratch(t), "a"), join(scratch(t), "b")]
  const tag = write(one, small("x"), key)
  const other = Buffer.alloc(32, 8)
  assert.notDeepEqual(write(two, small("x"), other), tag)
  assert.throws(() => digestAt(new NodeDisk(one), other, tag), has("integrity", "wrong-key"))
  assert.throws(
    () => digestAt(new NodeDisk(one), undefined, tag),
    has("integrity", "other-protection"),
  )
})

test("nothing of an encrypted store can be read in it", (t) => {
  const directory = join(scratch(t), "a")
  write(directory, small("the secret of the model"), key)
  for (const bytes of filesOf(directory).values())
    assert.doesNotMatch(Buffer.from(bytes).toString("latin1"), /secret|model\.bin/)
})

for (const secret of [key, undefined]) {
  const name = secret === undefined ? "authenticated" : "encrypted"
  test(`${name}: another version, whole, is a rollback`, (t) => {
    const [one, two] = [join(scratch(t), "a"), join(scratch(t), "b")]
    const older = write(one, small("older"), secret)
    write(two, small("newer"), secret)
    assert.throws(
      () => digestAt(new NodeDisk(two), secret, older),
      has("rollback", "other-content"),
    )
  })

  test(`${name}: a changed byte, or a cut, is found or changes nothing that is read`, (t) => {
    const directory = join(scratch(t), "a")
    const tree = small("content that is short")
    const tag = write(directory, tree, secret)
    let found = 0
    // What stands before the checkpoint is needed by nobody.
    const check = (what: string) => {
      try {
        const digest = digestAt(new NodeDisk(directory), secret, tag)
        assert.equal(digest, treeDigest(tree), what)
      } catch (error) {
        assert.ok(error instanceof CofferError, `${what}: ${String(error)}`)
        assert.ok(["integrity", "rollback"].includes(error.code), `${what}: ${error.message}`)
        found += 1
      }
    }
    for (const [file, bytes] of filesOf(directory)) {
      if (file === "lock") continue
      const path = join(directory, file)
      for (let at = 0; at < bytes.length; at += 2) {
        writeFileSync(path, flipped(bytes, at))
        check(`${file}, byte ${at}`)
      }
      for (let size = 0; size < bytes.length; size += 97) {
        writeFileSync(path, bytes.subarray(0, size))
        check(`${file}, cut at ${size}`)
      }
      writeFileSync(path, bytes)
    }
    check("whole again")
    assert.ok(found > 400, `${found} changes were found`)
  })
}

test("the files of a store may lie anywhere, in one file too", (t) => {
  const place = scratch(t)
  const tag = write(join(place, "a"), sampleTree({ sockets: true }), key)
  const parts: Uint8Array[] = [Buffer.alloc(512, 9)]
  const files: FileExtent[] = []
  let offset = 512
  for (const [name, bytes] of filesOf(join(place, "a"))) {
    files.push({ name, path: join(place, "all"), offset, size: bytes.length })
    parts.push(bytes)
    offset += bytes.length
  }
  writeFileSync(join(place, "all"), Buffer.concat(parts))
  const disk = new ExtentDisk("model", files)
  assert.equal(digestAt(disk, key, tag), treeDigest(sampleTree({ sockets: true })))
  disk.closeAll()
})

function has(code: string, reason: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.deepEqual([error.code, error.reason], [code, reason], error.message)
    return true
  }
}
