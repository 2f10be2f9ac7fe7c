import { test } from "node:test"
import { fuzzTar } from "../support/tar-fuzz.ts"

test("200,000 mutated tars", () => {
  fuzzTar(1_000_000, 200_000)
})
