import assert from "node:assert/strict"
import { test } from "node:test"
import { fuzzImages } from "../support/oci-fuzz.ts"

test("mutated images are read, or refused with words of ours", async () => {
  const count = 600
  const readCount = await fuzzImages(1, count)
  assert.ok(readCount > count / 20 && readCount < count * 0.9, `${readCount} of ${count} were read`)
})
