import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { buildDcap } from "../../test/support/dcap.ts"
import { flipped } from "../../test/support/flip.ts"
import { tableFaults } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { parseQuote, quoteHeaderTable, sgxReportTable, tdReportTable } from "./index.ts"

test("the structs' fields touch and add up", () => {
  assert.deepEqual(tableFaults(quoteHeaderTable, 48), [])
  assert.deepEqual(tableFaults(sgxReportTable, 384), [])
  assert.deepEqual(tableFaults(tdReportTable, 648), [])
})

test("versions and bodies", () => {
  for (const [world, version, tee] of [
    [{}, 3, "sgx"],
    [{ version: 4 }, 4, "sgx"],
    [{ version: 5 }, 5, "sgx"],
    [{ tee: "tdx" }, 4, "tdx"],
    [{ tee: "tdx", td15: true }, 5, "tdx"],
  ] as const) {
    const quote = parseQuote(buildDcap(world).quote)
    assert.equal(quote.version, version)
    assert.equal(quote.body.tee, tee)
    assert.equal(quote.certification.type, 5)
  }
})

function quiet(bytes: Uint8Array): void {
  try {
    parseQuote(bytes)
  } catch (error) {
    assert.ok(error instanceof CofferError && error.code === "integrity", String(error))
  }
}

test("truncated, changed and random bytes end in an error of ours", () => {
  const { quote } = buildDcap({ tee: "tdx", td15: true })
  for (let size = 0; size < quote.length; size += 1)
    assert.throws(() => parseQuote(quote.subarray(0, size)), CofferError, `${size}`)
  for (let at = 0; at < quote.length; at += 1) {
    quiet(flipped(quote, at))
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 2000 }), quiet))
})
