import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { toHex } from "../../src/bytes/index.ts"
import { readSealed, sourceOfBytes } from "../../src/seal/index.ts"
import { directory, file, makeSealed, smallTree, testDraft } from "../support/sealed.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-second-"))
after(() => rmSync(folder, { recursive: true, force: true }))

function second(path: string) {
  return spawnSync("python3", ["test/second/sealed_binary.py", path], { encoding: "utf8" })
}

const skip = spawnSync("python3", ["--version"]).error === undefined ? false : "python3 is not here"

test("a second reader, written from the spec, finds the same", { skip }, () => {
  // 129 blocks and more: a hash tree of two levels; a manifest of several pages.
  const tree = directory({ bin: smallTree, data: file(new Uint8Array(600_000).fill(7)) })
  const long = { ...testDraft, argv: ["hello", "x".repeat(9000)] }
  for (const options of [
    {},
    { sign: false },
    { draft: { ...testDraft, arch: "aarch64" as const } },
    { draft: long, tree },
  ]) {
    const path = join(folder, "sealed")
    const { mrEnclave, signature } = readSealed(sourceOfBytes(makeSealed(path, options)))
    const run = second(path)
    assert.equal(run.status, 0, run.stderr)
    const found = JSON.parse(run.stdout) as Record<string, unknown>
    assert.equal(found["mrenclave"], toHex(mrEnclave))
    assert.equal(found["mrsigner"], signature === undefined ? undefined : toHex(signature.mrSigner))
    assert.equal(found["isv_svn"], signature?.isvSvn)
  }
})

test("and refuses what we refuse", { skip }, () => {
  const path = join(folder, "damaged")
  const bytes = makeSealed(path)
  for (const at of [0x1000, 0x2020, 0x3100, 0x4010, 0x5400, bytes.length - 1]) {
    const changed = Uint8Array.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    writeFileSync(path, changed)
    assert.notEqual(second(path).status, 0, `byte ${at}`)
  }
})
