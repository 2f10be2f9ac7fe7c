import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { fuzzElf } from "../support/elf-fuzz.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-elf-fuzz-"))
after(() => rmSync(folder, { recursive: true, force: true }))

test("100,000 mutations of sealed binaries, enclaves, streams and proofs", () => {
  const refused = fuzzElf(join(folder, "sealed"), 100_000, 2)
  assert.ok(refused > 50_000 && refused < 100_000, `${refused} were refused`)
})
