import assert from "node:assert/strict"
import { createCipheriv, randomBytes } from "node:crypto"
import { test } from "node:test"
import fc from "fast-check"
import { type AeadBackend, createAead } from "./index.ts"

const backends: readonly AeadBackend[] = ["openssl", "node"]
const key = Buffer.alloc(32, 7)
const nonce = Buffer.from("000102030405060708090a0b", "hex")
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

for (const backend of backends) {
  // The Galois/Counter Mode of Operation (McGrew, Viega), test cases 13, 14 and 16.
  test(`${backend}: the published vectors`, () => {
    const zero = createAead(new Uint8Array(32), backend)
    const empty = Buffer.alloc(16)
    zero.seal(new Uint8Array(12), new Uint8Array(0), empty, 0, 0, 0)
    assert.equal(hex(empty), "530f8afbc74536b9a963b4f1c4cb738b")
    const block = Buffer.alloc(32)
    zero.seal(new Uint8Array(12), new Uint8Array(0), block, 0, 16, 16)
    assert.equal(hex(block), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
    const sixteen = createAead(
      Buffer.from("feffe9928665731c6d6a8f9467308308".repeat(2), "hex"),
      backend,
    )
    const text =
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    const buffer = Buffer.concat([Buffer.from(text, "hex"), Buffer.alloc(16)])
    const aad = Buffer.from("feedfacedeadbeeffeedfacedeadbeefabaddad2", "hex")
    sixteen.seal(Buffer.from("cafebabefacedbaddecaf888", "hex"), aad, buffer, 0, 60, 60)
    assert.equal(hex(buffer.subarray(60)), "76fc6ece0f4e1768cddf8853bb2d551b")
  })

  test(`${backend}: what was sealed opens, in place and into another buffer`, () => {
    const aead = createAead(key, backend)
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 5000 }),
        fc.uint8Array({ maxLength: 100 }),
        (text, aad) => {
          const size = text.length
          const buffer = Buffer.concat([Buffer.alloc(3), text, Buffer.alloc(19)])
          aead.seal(nonce, aad, buffer, 3, size, size + 6)
          const target = Buffer.alloc(size + 5)
          assert.ok(aead.open(nonce, aad, buffer, 3, size, size + 6, target, 5))
          assert.deepEqual(new Uint8Array(target.subarray(5)), text)
          assert.ok(aead.open(nonce, aad, buffer, 3, size, size + 6, buffer, 3))
          assert.deepEqual(new Uint8Array(buffer.subarray(3, 3 + size)), text)
        },
      ),
      { numRuns: 200 },
    )
    aead.close()
    aead.close()
  })

  test(`${backend}: every flipped bit is seen, and nothing decrypted is left behind`, () => {
    const aead = createAead(key, backend)
    const aad = Buffer.from("frame 1")
    const sealed = Buffer.concat([Buffer.from("some payload of a frame"), Buffer.alloc(16)])
    const size = sealed.length - 16
    aead.seal(nonce, aad, sealed, 0, size, size)
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const copy = Buffer.from(sealed)
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const target = Buffer.alloc(size, 1)
      assert.equal(aead.open(nonce, aad, copy, 0, size, size, target, 0), false)
      assert.ok(target.every((byte) => byte === 0))
    }
    const target = Buffer.alloc(size)
    assert.equal(aead.open(nonce, Buffer.from("frame 2"), sealed, 0, size, size, target, 0), false)
    assert.equal(aead.open(Buffer.alloc(12), aad, sealed, 0, size, size, target, 0), false)
    assert.equal(aead.open(nonce, aad, sealed, 0, size, size, target, 0), true)
  })

  test(`${backend}: after another key it is as one that was made with it`, () => {
    const second = new Uint8Array(32).fill(9)
    const [aead, other] = [createAead(key, backend), createAead(second, backend)]
    const [aad, a, b] = [Buffer.from("place"), Buffer.alloc(40, 5), Buffer.alloc(40)]
    aead.seal(nonce, aad, a, 0, 24, 24)
    aead.setKey(second)
    assert.equal(aead.open(nonce, aad, a, 0, 24, 24, b, 0), false)
    other.seal(nonce, aad, a.fill(5), 0, 24, 24)
    aead.seal(nonce, aad, b.fill(5), 0, 24, 24)
    assert.deepEqual(a, b)
    assert.equal(aead.open(nonce, aad, a, 0, 24, 24, b, 0), true)
    assert.deepEqual(b.subarray(0, 24), Buffer.alloc(24, 5))
    assert.throws(() => aead.setKey(new Uint8Array(31)), TypeError)
    aead.close()
    assert.throws(() => aead.setKey(key), TypeError)
  })

  test(`${backend}: GMAC covers additional data and range`, () => {
    const aead = createAead(key, backend)
    const buffer = Buffer.concat([Buffer.from("plain, but bound"), Buffer.alloc(16)])
    const aad = Buffer.alloc(8, 3)
    aead.mac(nonce, aad, buffer, 0, 16, 16)
    assert.ok(aead.verifyMac(nonce, aad, buffer, 0, 16, 16))
    for (let i = 0; i < buffer.length; i += 1) {
      const copy = Buffer.from(buffer)
      copy[i] = (copy[i] ?? 0) ^ 1
      assert.equal(aead.verifyMac(nonce, aad, copy, 0, 16, 16), false)
    }
    assert.equal(aead.verifyMac(nonce, Buffer.alloc(8, 4), buffer, 0, 16, 16), false)
  })

  test(`${backend}: offsets outside, wrong sizes and a closed cipher are refused`, () => {
    const aead = createAead(key, backend)
    const aad = new Uint8Array(0)
    const buffer = Buffer.alloc(32)
    for (const [at, size, tagAt] of [
      [-1, 4, 8],
      [0, 33, 0],
      [0, -1, 0],
      [0, 4, 17],
      [0, 4, -1],
      [0.5, 4, 8],
      [Number.NaN, 4, 8],
    ] as const) {
      assert.throws(() => aead.seal(nonce, aad, buffer, at, size, tagAt), TypeError)
      assert.throws(() => aead.open(nonce, aad, buffer, at, size, tagAt, buffer, 0), TypeError)
      assert.throws(() => aead.mac(nonce, aad, buffer, at, size, tagAt), TypeError)
      assert.throws(() => aead.verifyMac(nonce, aad, buffer, at, size, tagAt), TypeError)
    }
    assert.throws(() => aead.open(nonce, aad, buffer, 0, 8, 8, buffer, 25), TypeError)
    assert.throws(() => aead.seal(nonce.subarray(1), aad, buffer, 0, 4, 8), TypeError)
    assert.throws(() => aead.seal(nonce, new Uint8Array(1025), buffer, 0, 4, 8), TypeError)
    assert.throws(() => createAead(new Uint8Array(31), backend), TypeError)
    aead.close()
    assert.throws(() => aead.seal(nonce, aad, buffer, 0, 4, 8), TypeError)
  })
}

test("both paths give the same bytes", () => {
  fc.assert(
    fc.property(fc.nat(3000), fc.nat(200), fc.boolean(), (size, aadSize, mac) => {
      const random = randomBytes(32)
      const aad = randomBytes(aadSize)
      const text = randomBytes(size + 16)
      const [first, second] = backends.map((backend) => {
        const buffer = Buffer.from(text)
        const aead = createAead(random, backend)
        if (mac) aead.mac(nonce, aad, buffer, 0, size, size)
        else aead.seal(nonce, aad, buffer, 0, size, size)
        aead.close()
        return buffer
      })
      assert.deepEqual(first, second)
      if (mac) return
      const reference = createCipheriv("aes-256-gcm", random, nonce)
      reference.setAAD(aad)
      assert.deepEqual(
        first?.subarray(0, size),
        Buffer.concat([reference.update(text.subarray(0, size)), reference.final()]),
      )
    }),
    { numRuns: 200 },
  )
})
