import assert from "node:assert/strict"
import { test } from "node:test"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { DamagedDataError, openDecompressor } from "./decompress.ts"

/** All of it, given in pieces of `step` bytes; undefined when it is cut. */
function decompress(
  format: "gzip" | "zstd",
  bytes: Uint8Array,
  step: number,
): Uint8Array | undefined {
  const stream = openDecompressor(format)
  const parts: Uint8Array[] = []
  try {
    for (let at = 0; at < bytes.length; at += step) {
      const piece = bytes.subarray(at, at + step)
      stream.input.set(piece)
      stream.give(piece.length)
      for (let part = stream.take(); part.length > 0; part = stream.take())
        parts.push(Uint8Array.from(part))
    }
    return stream.isWhole() ? Buffer.concat(parts) : undefined
  } finally {
    stream.close()
  }
}

const compressors = { gzip: gzipSync, zstd: zstdCompressSync }
const small = Buffer.from("a layer, ".repeat(20))
// Larger than the buffers, with parts that compress well and parts that do not.
const large = Buffer.alloc(1_500_000)
for (let i = 0, x = 1; i < large.length; i += 1) {
  x = (x * 48_271) % 0x7fffffff
  large[i] = i % 300_000 < 150_000 ? x : i >> 12
}

for (const format of ["gzip", "zstd"] as const) {
  const compress = compressors[format]

  test(`${format}: any size of the pieces gives the same bytes`, () => {
    for (const plain of [Buffer.alloc(0), small, large]) {
      const packed = compress(plain)
      for (const step of [1, 7, 4096, 1 << 18].slice(plain === large ? 2 : 0))
        assert.deepEqual(decompress(format, packed, step), Buffer.from(plain), `${step}`)
    }
    const full = Buffer.alloc(1 << 18, 7)
    assert.deepEqual(decompress(format, compress(full), 1 << 18), full)
  })

  test(`${format}: several members are one stream`, () => {
    const packed = Buffer.concat([compress(small), compress(Buffer.alloc(0)), compress(large)])
    for (const step of [1000, 1 << 18])
      assert.deepEqual(decompress(format, packed, step), Buffer.concat([small, large]))
    const first = compress(small)
    const both = Buffer.concat([first, compress(small)])
    assert.deepEqual(decompress(format, both, first.length), Buffer.concat([small, small]))
  })

  test(`${format}: what is cut is not whole, at any length`, () => {
    const packed = compress(small)
    for (let size = 0; size < packed.length; size += 1)
      assert.equal(decompress(format, packed.subarray(0, size), 1 << 18), undefined, `${size}`)
  })

  test(`${format}: a changed byte gives an error, or other bytes`, () => {
    const packed = compress(small)
    let errors = 0
    for (let at = 0; at < packed.length; at += 1) {
      const bad = Uint8Array.from(packed)
      bad[at] = (bad[at] ?? 0) ^ 0x55
      try {
        decompress(format, bad, 1 << 18)
      } catch (error) {
        assert.ok(error instanceof DamagedDataError, String(error))
        errors += 1
      }
    }
    assert.ok(errors > packed.length / 4)
  })

  test(`${format}: misuse is refused`, () => {
    const stream = openDecompressor(format)
    assert.throws(() => stream.give((1 << 18) + 1), TypeError)
    assert.throws(() => stream.give(-1), TypeError)
    stream.close()
    stream.close()
    assert.throws(() => stream.take(), TypeError)
  })
}

test("gzip: zeros behind the last member are ignored, anything else is not", () => {
  const packed = gzipSync(small)
  const zeros = Buffer.concat([packed, Buffer.alloc(600)])
  for (const step of [packed.length, 100, 1 << 18])
    assert.deepEqual(decompress("gzip", zeros, step), Buffer.from(small))
  const garbage = Buffer.concat([packed, Buffer.from("garbage")])
  assert.throws(() => decompress("gzip", garbage, 1 << 18), DamagedDataError)
  const half = Buffer.concat([packed, packed.subarray(0, 9)])
  assert.equal(decompress("gzip", half, 1 << 18), undefined)
})
