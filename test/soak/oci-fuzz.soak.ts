import { test } from "node:test"
import { fuzzImages } from "../support/oci-fuzz.ts"

test("30,000 mutated images", async () => {
  await fuzzImages(2_000_000, 30_000)
})
