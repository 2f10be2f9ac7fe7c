import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { toHex } from "../../src/bytes/index.ts"
import { measureSdkEnclave } from "../../src/seal/index.ts"
import { fuzzElf } from "../support/elf-fuzz.ts"
import { sdkEnclave, sdkMrEnclave } from "../support/sdk-enclave.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-elf-fuzz-"))
after(() => rmSync(folder, { recursive: true, force: true }))

for (const version of ["1.3", "2.1"] as const)
  test(`an enclave of the SDK's format ${version} is measured page by page as its loader would`, () => {
    const want = sdkMrEnclave(version)
    const { mrEnclave, signature } = measureSdkEnclave(sdkEnclave(want, version))
    assert.equal(toHex(mrEnclave), toHex(want))
    assert.equal(signature.isvProdId, 5)
    const lying = sdkEnclave(new Uint8Array(32), version)
    assert.throws(() => measureSdkEnclave(lying), { code: "integrity" })
  })

test("2,000 mutations: an error of ours each time, or an answer", () => {
  const refused = fuzzElf(join(folder, "sealed"), 2000, 1)
  assert.ok(refused > 1000 && refused < 2000, `${refused} were refused`)
})
