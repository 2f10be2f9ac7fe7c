/** Stores that are written once, at a size where checkpoints, many segments and a busy machine come in: still the same bytes. */
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { utf8OfByteString } from "../../src/bytes/index.ts"
import {
  contentOfBytes,
  type DirectoryNode,
  TreeBuilder,
  treeDigest,
} from "../../src/tree/index.ts"
import { exportTree, fileSystemOn, NodeDisk, openOnce, writeOnce } from "../../src/volume/index.ts"

const key = Buffer.alloc(32, 1)
const meta = { mode: 0o644, uid: 0, gid: 0, mtime: { seconds: 5, nanoseconds: 0 }, xattrs: [] }

/** 60,000 small files and one of 400 MB: more than one segment, and more log than a checkpoint waits for. */
function largeTree(): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const put = (path: string, bytes: Uint8Array) =>
    tree.put(utf8OfByteString(path), { kind: "file", meta, content: contentOfBytes(bytes) })
  for (let i = 0; i < 60_000; i += 1)
    put(`/d${i % 100}/sub${i % 7}/file-${i}`, Buffer.alloc(1000 + (i % 9000), i))
  put("/big", createHash("shake256", { outputLength: 400_000_000 }).update("big").digest())
  return tree.finish()
}

function digestsIn(directory: string): Map<string, string> {
  const segments = join(directory, "segments")
  return new Map(
    readdirSync(segments)
      .toSorted()
      .map((name) => [
        name,
        createHash("sha256")
          .update(readFileSync(join(segments, name)))
          .digest("hex"),
      ]),
  )
}

for (const secret of [key, undefined])
  test(`${secret === undefined ? "authenticated" : "encrypted"}: a large store is the same twice, opens at once, and has every byte`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), "coffer-written-once-"))
    t.after(() => rmSync(folder, { recursive: true }))
    const tree = largeTree()
    const write = (name: string) =>
      writeOnce({
        directory: join(folder, name),
        key: secret,
        name: "large",
        tree,
        onProgress: () => undefined,
      }).tag
    const tag = write("one")
    assert.deepEqual(write("two"), tag)
    const digests = digestsIn(join(folder, "one"))
    assert.deepEqual(digestsIn(join(folder, "two")), digests)
    assert.ok(digests.size > 2, `${digests.size} segments`)
    const begin = performance.now()
    const opened = openOnce({ disk: new NodeDisk(join(folder, "one")), key: secret, tag })
    const fs = fileSystemOn(opened, { readOnly: true }, () => undefined)
    const ms = performance.now() - begin
    t.diagnostic(`${digests.size} segments, open in ${ms.toFixed(0)} ms`)
    assert.ok(ms < 2000, `${ms} ms`)
    assert.equal(treeDigest(exportTree(fs, utf8OfByteString("/"))), treeDigest(tree))
    fs.destroy()
  })
