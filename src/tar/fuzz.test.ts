import assert from "node:assert/strict"
import { test } from "node:test"
import { fuzzTar, readOrRefuse, seedTars } from "../../test/support/tar-fuzz.ts"

const [, ...small] = seedTars()

test("the seeds are good tars", () => {
  for (const tar of seedTars()) assert.equal(readOrRefuse(tar, "strict"), "read")
})

test("a tar cut off anywhere is refused, and never a crash in a layer", () => {
  for (const tar of small) {
    // The last block may be cut: then the first zero block has no second.
    for (let size = 0; size < tar.length; size++) {
      assert.equal(readOrRefuse(tar.subarray(0, size), "strict"), "refused", `${size} bytes`)
      readOrRefuse(tar.subarray(0, size), "layer")
    }
  }
})

test("the large tar cut off at each record is refused", () => {
  const [tar] = seedTars()
  for (let size = 0; size < tar.length; size += 512) {
    assert.equal(readOrRefuse(tar.subarray(0, size), "strict"), "refused", `${size} bytes`)
  }
})

test("each bit of a header flipped is refused", () => {
  for (const tar of small) {
    const header = tar.subarray(0, 512)
    for (let bit = 0; bit < header.length * 8; bit++) {
      const flipped = Uint8Array.from(tar)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const inChecksum = bit >> 3 >= 148 && bit >> 3 < 156
      const found = readOrRefuse(flipped, "strict")
      if (!inChecksum) assert.equal(found, "refused", `bit ${bit}`)
    }
  }
})

test("mutated tars are read or refused, never anything else", () => {
  const count = 8000
  const readCount = fuzzTar(1, count)
  // Neither all nor none: the mutations reach behind the checksum.
  assert.ok(readCount > count / 50 && readCount < count, `${readCount} were read`)
})
