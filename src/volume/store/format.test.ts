import assert from "node:assert/strict"
import { test } from "node:test"
import { tableFaults } from "../../bytes/index.ts"
import { labels, sha256 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import { type Commit, commitFixedSize, commitTable, decodeCommit, encodeCommit } from "./commit.ts"
import {
  decodeSegmentHeader,
  decodeVolumeHeader,
  encodeSegmentHeader,
  encodeVolumeHeader,
  frameHeaderSize,
  frameHeaderTable,
  segmentHeaderSize,
  segmentHeaderTable,
  volumeHeaderSize,
  volumeHeaderTable,
} from "./format.ts"
import { decodePinSlot, encodePinSlot, pinSlotSize, pinSlotTable } from "./pin-file.ts"
import { decodeRekeyRequest, encodeRekeyRequest, rekeyRequestTable } from "./rekey-request.ts"

const bytes = (fill: number) => Buffer.alloc(32, fill)

test("the tables' fields touch and add up", () => {
  assert.deepEqual(tableFaults(volumeHeaderTable, volumeHeaderSize), [])
  assert.deepEqual(tableFaults(segmentHeaderTable, segmentHeaderSize), [])
  assert.deepEqual(tableFaults(frameHeaderTable, frameHeaderSize), [])
  assert.deepEqual(tableFaults(commitTable, commitFixedSize), [])
  assert.deepEqual(tableFaults(pinSlotTable, pinSlotSize), [])
  assert.deepEqual(tableFaults(rekeyRequestTable, 72), [])
})

test("labels are those of the spec", () => {
  assert.equal(labels.volumeSegmentKey, "coffer/v1/volume/segment-key")
  assert.equal(labels.volumeSegmentCheck, "coffer/v1/volume/segment-check")
  assert.equal(labels.volumeCommitTag, "coffer/v1/volume/commit-tag")
  assert.equal(labels.volumeKeyWrap, "coffer/v1/volume/key-wrap")
  assert.equal(labels.volumeRekeyRequest, "coffer/v1/volume/rekey-request")
})

/** Every truncation, every flipped byte, one byte more. */
function mutations(whole: Uint8Array): Buffer[] {
  const out: Buffer[] = [Buffer.concat([whole, Buffer.from([0])])]
  for (let at = 0; at < whole.length; at += 1) {
    out.push(Buffer.from(whole.subarray(0, at)))
    const flipped = Buffer.from(whole)
    flipped[at] = (whole[at] ?? 0) ^ 1
    out.push(flipped)
  }
  return out
}

test("volume header: what was encoded, and nothing else", () => {
  const whole = encodeVolumeHeader(bytes(3), "authenticated")
  const { id, protection } = decodeVolumeHeader(whole)
  assert.deepEqual([Buffer.from(id), protection], [bytes(3), "authenticated"])
  for (const mutated of mutations(whole))
    assert.throws(() => decodeVolumeHeader(mutated), CofferError)
})

test("a newer version is said to be one", () => {
  const newer = Buffer.from(encodeVolumeHeader(bytes(3), "encrypted"))
  newer.writeUInt32LE(2, 8)
  newer.set(sha256(newer.subarray(0, 96)), 96)
  assert.throws(
    () => decodeVolumeHeader(newer),
    (error) =>
      error instanceof CofferError && error.code === "config" && /version/.test(error.message),
  )
})

test("segment header: canonical or nothing", () => {
  const header = { number: 7, generation: 1, salt: bytes(1), check: bytes(2) }
  const whole = encodeSegmentHeader(header)
  assert.deepEqual(decodeSegmentHeader(whole), {
    ...header,
    salt: new Uint8Array(header.salt),
    check: new Uint8Array(header.check),
  })
  for (const at of [0, 8, 20]) {
    const flipped = Buffer.from(whole)
    flipped[at] = (whole[at] ?? 0) ^ 1
    assert.equal(decodeSegmentHeader(flipped), undefined)
  }
  assert.equal(decodeSegmentHeader(whole.subarray(0, 87)), undefined)
})

const commit: Commit = {
  sequence: 5,
  previous: bytes(1),
  digest: bytes(2),
  durable: 4,
  checkpoint: { sequence: 2, tag: bytes(3), segment: 1, offset: 88 },
  flags: { changes: true },
  frameCount: 2,
  hashes: Buffer.alloc(64, 4),
  items: {
    begin: {
      number: 3,
      generation: 1,
      previous: { number: 2, generation: 0, salt: bytes(5), end: 1000 },
    },
    next: { number: 4, generation: 1, salt: bytes(6) },
    open: { epoch: 9, lease: bytes(7) },
    table: [
      { number: 1, generation: 0, end: 500, salt: bytes(8), lastTag: bytes(9) },
      { number: 2, generation: 0, end: 1000, salt: bytes(5), lastTag: bytes(10) },
    ],
    keys: [{ generation: 0, sealed: Buffer.alloc(60, 11) }],
    restore: { from: bytes(12), to: bytes(13) },
    seen: Buffer.alloc(148, 14),
  },
  records: Buffer.from("records"),
}

test("commit: decode then encode gives the same bytes", () => {
  const whole = encodeCommit(commit)
  assert.deepEqual(Buffer.from(encodeCommit(decodeCommit(whole, true))), Buffer.from(whole))
  // A commit is decoded after it has verified, so a fault in it is one of ours; still it must be a fault, not a wrong value.
  for (const mutated of mutations(whole)) {
    try {
      assert.deepEqual(Buffer.from(encodeCommit(decodeCommit(mutated, true))), mutated)
    } catch (error) {
      assert.ok(error instanceof CofferError, String(error))
    }
  }
})

test("pin slot: whole or nothing", () => {
  const state = {
    volumeId: bytes(1),
    epoch: 3,
    sequence: 9,
    tag: bytes(2),
    salt: bytes(3),
    offset: 88,
  }
  for (const slot of [
    { count: 4, state },
    { count: 1, state: "new" as const },
  ]) {
    const whole = encodePinSlot(slot)
    assert.equal(whole.length, pinSlotSize)
    assert.deepEqual(encodePinSlot(decodePinSlot(whole) ?? { count: 0, state: "new" }), whole)
    for (const mutated of mutations(whole)) assert.equal(decodePinSlot(mutated), undefined)
  }
})

test("rekey request: only of the current key, bit for bit", () => {
  const header = decodeVolumeHeader(encodeVolumeHeader(bytes(3), "encrypted"))
  const request = { generation: 2, time: 1_700_000_000_000, newKey: new Uint8Array(bytes(9)) }
  const whole = encodeRekeyRequest(bytes(1), header, request)
  assert.deepEqual(decodeRekeyRequest(bytes(1), header, whole), request)
  assert.equal(decodeRekeyRequest(bytes(2), header, whole), undefined)
  for (const mutated of mutations(whole))
    assert.equal(decodeRekeyRequest(bytes(1), header, mutated), undefined)
})
