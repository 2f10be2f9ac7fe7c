import { test } from "node:test"
import { fuzzBinfs } from "../support/binfs-fuzz.ts"

test("100,000 mutated images", (context) => {
  context.diagnostic(JSON.stringify(fuzzBinfs(1_000_000, 100_000)))
})
