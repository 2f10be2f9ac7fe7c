import assert from "node:assert/strict"
import { test } from "node:test"
import { hkdfSha256, hmacSha256, labelBytes, randomBytes } from "../crypto/index.ts"
import { RowSealer } from "./rows.ts"

const master = new Uint8Array(32).fill(7)
const stateKey = hkdfSha256(master, new Uint8Array(), labelBytes("casStateKey"), 32)

const mac = (...parts: readonly Uint8Array[]) =>
  Buffer.from(hmacSha256(stateKey, Buffer.concat(parts))).toString("hex")

test("weights and places are HMAC-SHA256 as the spec says, of short and long rows", () => {
  const sealer = new RowSealer(master)
  for (const size of [0, 1, 63, 64, 65, 4000, 5000, 100_000, 10]) {
    const row = randomBytes(size)
    const name = Buffer.from(`volumes\0p/${size}\0`)
    assert.equal(sealer.weight("volumes", `p/${size}`, row), BigInt(`0x${mac(name, row)}`))
    const place = mac(labelBytes("casRowPlace"), name).slice(0, 16)
    assert.equal(sealer.place("volumes", `p/${size}`), BigInt(`0x${place}`))
  }
  assert.equal(sealer.weight("volumes", "p", undefined), 0n)
})

test("a row opens in its place, under its master key, as it was", () => {
  const sealer = new RowSealer(master)
  const sealed = sealer.seal("secrets", "p/é", { value: "x".repeat(10_000) })
  assert.deepEqual(sealer.open("secrets", "p/é", sealed), { value: "x".repeat(10_000) })
  assert.throws(() => sealer.open("secrets", "p/e", sealed), /sealed under this master key/)
  assert.throws(() => sealer.open("volumes", "p/é", sealed), /sealed under this master key/)
  assert.throws(() => new RowSealer(randomBytes(32)).open("secrets", "p/é", sealed), /sealed/)
  for (const at of [0, 16, 30, sealed.length - 1]) {
    const bad = Uint8Array.from(sealed)
    bad[at] = (bad[at] ?? 0) ^ 1
    assert.throws(() => sealer.open("secrets", "p/é", bad), /sealed/)
  }
})
