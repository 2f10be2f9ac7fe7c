import assert from "node:assert/strict"
import { test } from "node:test"
import { concatBytes, toHex } from "../bytes/index.ts"
import { sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { BlockHasher } from "./block-hasher.ts"
import { blockSize, hashAreaSize, verityLevels } from "./layout.ts"
import { hashTree, hashTreeOfBytes } from "./tree.ts"
import { type ByteSource, VerifiedSource } from "./verified-source.ts"

function pattern(blockCount: number): Uint8Array {
  const words = new Uint32Array((blockCount * blockSize) / 4)
  for (let i = 0; i < words.length; i += 1) words[i] = Math.imul(i + 1, 2654435761)
  return new Uint8Array(words.buffer)
}

function sourceOf(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read: (target, position) => target.set(bytes.subarray(position, position + target.length)),
  }
}

const ringWorker = new URL("../../test/support/hash-ring.worker.ts", import.meta.url)

test("levels stand top first and add up", () => {
  assert.deepEqual(verityLevels(1), [])
  assert.deepEqual(verityLevels(2), [{ firstBlock: 0, blockCount: 1 }])
  assert.deepEqual(verityLevels(128), [{ firstBlock: 0, blockCount: 1 }])
  assert.deepEqual(verityLevels(129), [
    { firstBlock: 1, blockCount: 2 },
    { firstBlock: 0, blockCount: 1 },
  ])
  assert.equal(hashAreaSize(128 * 128 + 1), (129 + 2 + 1) * blockSize)
  assert.throws(() => verityLevels(0), TypeError)
})

test("a stream hashed by workers has the same tree, with any number of workers", () => {
  const data = pattern(256 * 20 + 3)
  const want = toHex(hashTreeOfBytes(data).rootHash)
  for (const workerCount of [0, 1, 3]) {
    const sunk = new Set<number>()
    const given: number[] = []
    const hasher = new BlockHasher({
      workerCount,
      sink: (_, firstBlock) => sunk.add(firstBlock),
      worker: (workerData) => ({ url: ringWorker, workerData }),
    })
    try {
      // Workers that begin early, that begin twice, and with the stream.
      if (workerCount === 1) hasher.expect(data.length)
      hasher.expect(workerCount === 3 ? 1 : data.length)
      // Block 0 comes last, as the writer of an image does it, and slots have all sizes.
      let at = blockSize
      for (let i = 0; at < data.length; i += 1) {
        const { buffer } = hasher
        const size = Math.min(i % 3 === 0 ? buffer.length : (i + 1) * blockSize, data.length - at)
        buffer.set(data.subarray(at, at + size))
        hasher.submit(at / blockSize, size)
        given.push(at / blockSize)
        at += size
      }
      hasher.hashNow(0, data.subarray(0, blockSize))
      assert.equal(toHex(hashTree(hasher.finish()).rootHash), want)
      // What a worker fails to sink, this thread sinks.
      const odd = given.filter((firstBlock) => firstBlock % 2 === 1 || workerCount === 0)
      assert.deepEqual(
        odd.filter((firstBlock) => !sunk.has(firstBlock)),
        [],
      )
    } finally {
      hasher.close()
    }
  }
})

test("an error of the sink comes out, and closing waits for what is under way", () => {
  for (const workerCount of [0, 2]) {
    const hasher = new BlockHasher({
      workerCount,
      sink: () => {
        throw new Error("disk full")
      },
      worker: (workerData) => ({ url: ringWorker, workerData }),
    })
    assert.throws(() => {
      for (let i = 0; i < 40; i += 1) {
        hasher.buffer.fill(i)
        hasher.submit(i * 256 + 1, hasher.buffer.length)
      }
      hasher.finish()
    }, /disk full/)
    hasher.close()
  }
})

test("every flipped byte of data and tree is seen when its block is read", () => {
  const data = pattern(130)
  const { rootHash, area } = hashTreeOfBytes(data)
  const file = concatBytes(data, area)
  const place = { dataSize: data.length, hashOffset: data.length, rootHash }
  for (let i = 0; i < file.length; i += 251) {
    file[i] = (file[i] ?? 0) ^ 1
    const verified = new VerifiedSource(sourceOf(file), place)
    assert.throws(
      () => verified.readAll(() => undefined),
      (error) => error instanceof CofferError && error.code === "integrity",
      `byte ${i}`,
    )
    file[i] = (file[i] ?? 0) ^ 1
  }
  new VerifiedSource(sourceOf(file), place).readAll(() => undefined)
})

test("reads of any range give the bytes; past the end is misuse", () => {
  const data = pattern(5)
  const { rootHash, area } = hashTreeOfBytes(data)
  const place = {
    dataOffset: blockSize,
    dataSize: data.length,
    hashOffset: 6 * blockSize,
    rootHash,
  }
  const file = concatBytes(new Uint8Array(blockSize), data, area)
  const verified = new VerifiedSource(sourceOf(file), place)
  for (const [from, to] of [
    [0, 1],
    [4095, 4097],
    [1, 20480],
    [4096, 12288],
    [20479, 20480],
    [7, 7],
  ] as const) {
    const target = new Uint8Array(to - from)
    verified.read(target, from)
    assert.equal(toHex(target), toHex(data.subarray(from, to)))
  }
  assert.throws(() => verified.read(new Uint8Array(2), 20479), TypeError)
})

test("a source that answers a second read differently gains nothing", () => {
  const data = pattern(3)
  const { rootHash, area } = hashTreeOfBytes(data)
  const file = concatBytes(data, area)
  let reads = 0
  const fickle: ByteSource = {
    size: file.length,
    read(target, position) {
      target.set(file.subarray(position, position + target.length))
      reads += 1
      if (reads > 3) target[0] = (target[0] ?? 0) ^ 1
    },
  }
  const place = { dataSize: data.length, hashOffset: data.length, rootHash }
  const verified = new VerifiedSource(fickle, place)
  const target = new Uint8Array(100)
  verified.read(target, 10)
  assert.equal(toHex(sha256(target)), toHex(sha256(data.subarray(10, 110))))
  assert.throws(() => {
    for (let i = 0; i < 3; i += 1) verified.read(target, 10)
  }, CofferError)
})
