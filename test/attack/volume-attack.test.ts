import assert from "node:assert/strict"
import { test } from "node:test"
import { CofferError } from "../../src/errors.ts"
import { openStoreForReading, type Place, type Protection } from "../../src/volume/index.ts"
import { type Files, RecordingDisk, seeded } from "../crash/recording-disk.ts"
import { create, key, MemoryAnchor, payloadOf, reopen, Tiny } from "../crash/workload.ts"

interface Sample {
  readonly files: Files
  readonly anchor: MemoryAnchor
  readonly items: ReadonlyMap<number, Place>
  readonly sets: number
}

/** A volume of a few segments, written in two sessions. */
function sample(protection: Protection): Sample {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const random = seeded(7)
  const first = create(disk, protection, anchor)
  for (let i = 0; i < 3; i += 1) first.put(200)
  first.commit(true)
  first.checkpoint()
  first.put(100)
  first.commit(true)
  first.store.close()
  const tiny = reopen(disk, anchor)
  for (let i = 0; i < 3; i += 1) tiny.put(Math.floor(random() * 200) + 4)
  tiny.commit(true)
  tiny.put(64)
  tiny.commit(true)
  tiny.store.close()
  return { files: disk.files, anchor, items: tiny.items, sets: tiny.sets }
}

type Outcome =
  | { readonly kind: "refused"; readonly code: string; readonly reason: string | undefined }
  /** It opened; these frames gave EIO, all others their right bytes. */
  | { readonly kind: "opened"; readonly eio: number; readonly sets: number }

/** Opens for reading and then for writing, reads all, and asserts that no wrong byte comes out. */
function tryOut(files: Files, anchored: Sample | undefined, access: "read" | "write"): Outcome {
  const disk = new RecordingDisk(files)
  const state = anchored?.anchor.state
  const anchor = state === undefined ? undefined : new MemoryAnchor(state)
  let tiny: Tiny
  try {
    tiny =
      access === "write"
        ? reopen(disk, anchor)
        : new Tiny(
            openStoreForReading(anchor === undefined ? { disk, key } : { disk, key, anchor }),
          )
  } catch (error) {
    if (!(error instanceof CofferError)) throw error
    assert.ok(
      ["integrity", "rollback", "config"].includes(error.code),
      `${error.code}: ${error.message}`,
    )
    return { kind: "refused", code: error.code, reason: error.reason }
  }
  let eio = 0
  const buffer = Buffer.alloc(64 * 1024)
  for (const [id, place] of tiny.items) {
    try {
      tiny.store.read(id % 3 === 0 ? "index" : "data", place, buffer, 0)
    } catch (error) {
      assert.ok(error instanceof CofferError && error.code === "integrity", String(error))
      eio += 1
      continue
    }
    assert.ok(buffer.subarray(0, place.size).equals(payloadOf(id, place.size)), `frame ${id}`)
  }
  return { kind: "opened", eio, sets: tiny.sets }
}

function withFile(files: Files, name: string, bytes: Buffer | undefined): Files {
  const out = new Map(files)
  if (bytes === undefined) out.delete(name)
  else out.set(name, bytes)
  return out
}

/** Opened means: with everything that was written, none of it stale. */
function notStale(outcome: Outcome, volume: Sample, what: string): void {
  if (outcome.kind === "opened") assert.equal(outcome.sets, volume.sets, `${what}: stale`)
  else assert.notEqual(outcome.code, "config", what)
}

function findings(files: Files, volume: Sample): number {
  const disk = new RecordingDisk(files)
  const anchor = new MemoryAnchor(volume.anchor.state)
  let count = 0
  openStoreForReading({ disk, key, anchor }).store.verify(() => {
    count += 1
  })
  return count
}

for (const protection of ["encrypted", "authenticated"] as const) {
  const volume = sample(protection)
  assert.equal(findings(volume.files, volume), 0)

  for (const anchored of [true, false]) {
    const pin = anchored ? volume : undefined
    test(`${protection}, ${anchored ? "pinned" : "no pin"}: every byte flipped`, () => {
      for (const [name, bytes] of volume.files) {
        for (let at = 0; at < bytes.length; at += 1) {
          const changed = Buffer.from(bytes)
          changed[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
          const files = withFile(volume.files, name, changed)
          // Both take the same way to the head; every byte for both is the soak's business.
          const soak = process.env["COFFER_SOAK"] !== undefined
          for (const access of soak || at % 8 === 0
            ? (["read", "write"] as const)
            : (["read"] as const))
            notStale(tryOut(files, pin, access), volume, `${name} ${at} ${access}`)
        }
      }
    })
  }

  test(`${protection}: verify finds every flipped byte`, () => {
    for (const [name, bytes] of volume.files) {
      for (let at = 0; at < bytes.length; at += 3) {
        const changed = Buffer.from(bytes)
        changed[at] = (bytes[at] ?? 0) ^ 0x80
        const files = withFile(volume.files, name, changed)
        let found: number
        try {
          found = findings(files, volume)
        } catch (error) {
          assert.ok(error instanceof CofferError)
          assert.ok(error.code === "integrity" || error.code === "rollback", error.message)
          continue
        }
        assert.ok(found > 0, `${name} ${at}`)
      }
    }
  })

  test(`${protection}, pinned: files dropped, truncated at every length, swapped, extended`, () => {
    const names = [...volume.files.keys()]
    for (const [name, bytes] of volume.files) {
      const dropped = tryOut(withFile(volume.files, name, undefined), volume, "write")
      notStale(dropped, volume, name)
      for (let size = 0; size < bytes.length; size += 1) {
        const files = withFile(volume.files, name, bytes.subarray(0, size))
        notStale(tryOut(files, volume, "write"), volume, `${name} cut at ${size}`)
      }
      const garbage = Buffer.concat([bytes, Buffer.from("garbage".repeat(50))])
      const longer = tryOut(withFile(volume.files, name, garbage), volume, "write")
      if (name !== "header") assert.deepEqual(longer, { kind: "opened", eio: 0, sets: volume.sets })
      for (const other of names) {
        const swapped = new Map(volume.files)
        swapped.set(name, volume.files.get(other) ?? Buffer.alloc(0))
        swapped.set(other, bytes)
        if (other !== name)
          notStale(tryOut(swapped, volume, "write"), volume, `${name} and ${other}`)
      }
    }
  })

  test(`${protection}: garbage and foreign files in the directory change nothing under a pin`, () => {
    const files = new Map(volume.files)
    files.set(`segments/${"ab".repeat(32)}`, Buffer.alloc(5000, 7))
    files.set("segments/x", Buffer.alloc(0))
    const other = sample(protection)
    for (const [name, bytes] of other.files) if (name !== "header") files.set(name, bytes)
    assert.deepEqual(tryOut(files, volume, "write"), { kind: "opened", eio: 0, sets: volume.sets })
    assert.ok(findings(files, volume) >= 2, "verify says so")
  })

  test(`${protection}: the header of another volume`, () => {
    const other = sample(protection)
    const files = withFile(volume.files, "header", other.files.get("header"))
    for (const pin of [volume, undefined]) assert.equal(tryOut(files, pin, "write").kind, "refused")
  })
}
