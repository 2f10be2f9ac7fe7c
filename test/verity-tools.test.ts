import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { concatBytes, toHex } from "../src/bytes/index.ts"
import { blockSize, hashTreeOfBytes } from "../src/verity/index.ts"

function pattern(blockCount: number): Uint8Array {
  const words = new Uint32Array((blockCount * blockSize) / 4)
  for (let i = 0; i < words.length; i += 1) words[i] = Math.imul(i + 1, 2654435761)
  return new Uint8Array(words.buffer)
}

const haveVeritysetup = spawnSync("veritysetup", ["--version"]).status === 0

test("the hash area and the root are those of veritysetup", {
  skip: haveVeritysetup ? false : "no veritysetup here",
}, () => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-verity-"))
  try {
    for (const count of [1, 2, 127, 128, 129, 700]) {
      const data = pattern(count)
      const { rootHash, area } = hashTreeOfBytes(data)
      const file = join(folder, `image-${count}`)
      writeFileSync(file, concatBytes(data, area))
      const format = ["format", "--no-superblock", "--salt", "-", "--hash", "sha256"]
      const made = spawnSync(
        "veritysetup",
        [...format, `--data-blocks=${count}`, file, `${file}.tree`],
        {
          encoding: "utf8",
        },
      )
      assert.match(made.stdout, new RegExp(`Root hash:\\s+${toHex(rootHash)}`), made.stderr)
      const offset = [`--hash-offset=${data.length}`, `--data-blocks=${count}`]
      const verify = ["verify", "--no-superblock", "--salt", "-", ...offset]
      const run = spawnSync("veritysetup", [...verify, file, file, toHex(rootHash)])
      assert.equal(run.status, 0, `${count}: ${String(run.stderr)}`)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
