import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { CofferError } from "../errors.ts"
import {
  alignUp,
  byteString,
  bytesOf,
  Cursor,
  canonicalJson,
  compareBytes,
  concatBytes,
  displayName,
  equalBytes,
  fromHex,
  isZero,
  parseCanonicalJson,
  parseDisplayName,
  structSize,
  tableFaults,
  toHex,
  utf8,
  utf8OfByteString,
} from "./index.ts"

function integrity(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof CofferError && error.code === "integrity" && message.test(error.message)
}

test("a byte string keeps every byte, and its order is the order of the bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      assert.deepEqual(new Uint8Array(bytesOf(byteString(a))), a)
      const byText = byteString(a) < byteString(b) ? -1 : byteString(a) > byteString(b) ? 1 : 0
      assert.equal(byText, Math.sign(compareBytes(a, b)))
    }),
  )
})

test("a displayed name is never ambiguous and never moves a terminal's cursor", () => {
  assert.equal(displayName(utf8OfByteString("grün/ä")), "grün/ä")
  assert.equal(displayName(byteString(new Uint8Array([0x61, 0xff, 0x5c]))), "a\\xff\\\\")
  assert.equal(displayName(utf8OfByteString("a\x1b[2Jb")), "a\\x1b[2Jb")
  assert.equal(displayName(utf8OfByteString("a\u202eb")), "a\\xe2\\x80\\xaeb")
})

test("what displayName shows is read back, and nothing is guessed", () => {
  const all = byteString(Uint8Array.from({ length: 255 }, (_, i) => i + 1))
  for (const name of [all, utf8OfByteString("grün\u202e\n\\xff"), byteString(Uint8Array.of(0xc3))])
    assert.equal(parseDisplayName(displayName(name)), name)
  for (const text of ["a\\", "a\\b", "\\x0", "\\xFF", "\\\\\\"])
    assert.equal(parseDisplayName(text), undefined, text)
})

test("hex is strict", () => {
  assert.equal(fromHex("0"), undefined)
  assert.equal(fromHex("0g"), undefined)
  assert.deepEqual(fromHex("00Ff"), new Uint8Array([0, 255]))
  assert.equal(toHex(concatBytes(new Uint8Array([1]), new Uint8Array([0xab]))), "01ab")
})

test("small helpers", () => {
  assert.equal(alignUp(0, 4096), 0)
  assert.equal(alignUp(4097, 4096), 8192)
  assert.ok(isZero(new Uint8Array(3)))
  assert.ok(!isZero(new Uint8Array([0, 1])))
  assert.ok(!equalBytes(new Uint8Array(1), new Uint8Array(2)))
})

test("a cursor reads what stands there and names the field when it cannot", () => {
  const cursor = new Cursor(
    new Uint8Array([1, 2, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]),
    "sample",
  )
  assert.equal(cursor.u8("a"), 1)
  assert.equal(cursor.u16("b"), 2)
  assert.equal(cursor.u32("c"), 3)
  assert.throws(
    () => new Cursor(new Uint8Array(8).fill(255), "s").size("length"),
    integrity(/2\^53/),
  )
  assert.equal(cursor.u64Be("d"), 0x0102030405060708n)
  assert.throws(() => cursor.u32("tail"), integrity(/sample: tail: wanted 4 bytes at offset 15/))
  assert.throws(() => cursor.end(), integrity(/sample: end/))
  cursor.zeros(2, "padding")
  cursor.end()
})

test("struct tables: fields touch and add up", () => {
  const table = [
    ["a", 0, 4],
    ["b", 4, 8],
  ] as const
  assert.equal(structSize(table), 12)
  assert.deepEqual(tableFaults(table, 12), [])
  assert.equal(tableFaults([["a", 1, 4]], 8).length, 2)
})

// RFC 8785, section 3.2.3 and appendix B.
test("canonical JSON as RFC 8785 gives it", () => {
  const value = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\ud83d\ude00": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
  }
  const text = new TextDecoder().decode(canonicalJson(value))
  assert.deepEqual(
    Object.values(
      JSON.parse(`[${[...text.matchAll(/:("[^"]+")/g)].map((m) => m[1]).join(",")}]`) as string[],
    ),
    [
      "Carriage Return",
      "One",
      "Control",
      "Latin Small Letter O With Diaeresis",
      "Euro Sign",
      "Emoji: Grinning Face",
      "Hebrew Letter Dalet With Dagesh",
    ],
  )
  assert.equal(
    new TextDecoder().decode(canonicalJson([333333333.3333333, 1e30, 4.5, 2e-3, 1e-27, -0])),
    "[333333333.3333333,1e+30,4.5,0.002,1e-27,0]",
  )
  for (const count of [0, 1, 2, 24, 25, 60]) {
    const keys = Array.from({ length: count }, (_, i) => `${(i * 37) % 60}é"\\\u007f${i}`)
    const wanted = keys.toSorted().map((key) => `${JSON.stringify(key)}:${JSON.stringify(key)}`)
    const object = Object.fromEntries(keys.map((key) => [key, key]))
    assert.equal(new TextDecoder().decode(canonicalJson(object)), `{${wanted.join(",")}}`)
  }
  assert.throws(() => canonicalJson(Number.NaN), TypeError)
  assert.throws(() => canonicalJson("\ud800"), TypeError)
})

test("only the canonical form is read", () => {
  for (const text of [
    '{"b":1,"a":2}',
    '{"a": 1}',
    '{"a":1,"a":1}',
    "1.0",
    '"\\u0061"',
    "[1]\n",
    '"\\ud800"',
    "{",
  ]) {
    assert.throws(() => parseCanonicalJson(utf8(text), "doc"), integrity(/doc: wanted/), text)
  }
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const bytes = canonicalJson(value)
      assert.deepEqual(canonicalJson(parseCanonicalJson(bytes, "doc")), bytes)
    }),
  )
})
