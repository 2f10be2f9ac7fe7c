import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { after, test } from "node:test"
import { sha256 } from "../../src/crypto/index.ts"
import { CofferError, exitCodeOf } from "../../src/errors.ts"
import {
  type Anchor,
  createStore,
  NodeDisk,
  openStore,
  openStoreForReading,
  PinFile,
} from "../../src/volume/index.ts"
import { seeded } from "../crash/recording-disk.ts"
import { key, session, Tiny } from "../crash/workload.ts"
import { filesOf, type VolumeState, volumeVector } from "../support/volume-vectors.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-decoder-"))
after(() => rmSync(folder, { recursive: true }))
const decoder = join(import.meta.dirname, "volume_decoder.py")
const works = spawnSync("python3", ["-c", "import cryptography"]).status === 0
const skip = works ? false : "python3 with python3-cryptography is not there"
let count = 0

interface Laid {
  readonly directory: string
  readonly pin: string
  readonly keyFile: string
}

function lay(files: ReadonlyMap<string, Uint8Array>, pin: Uint8Array, volumeKey: Uint8Array): Laid {
  count += 1
  const directory = join(folder, `v${count}`)
  mkdirSync(join(directory, "segments"), { recursive: true })
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), bytes)
  }
  writeFileSync(`${directory}.pin`, pin)
  writeFileSync(`${directory}.key`, volumeKey)
  return { directory, pin: `${directory}.pin`, keyFile: `${directory}.key` }
}

/** What the second decoder says: the state, or its exit code. */
function decoded({ directory, pin, keyFile }: Laid, keyless = false): VolumeState | number {
  const args = [decoder, directory, pin, keyless ? "--no-key" : keyFile]
  const run = spawnSync("python3", args, { encoding: "utf8", maxBuffer: 1 << 28 })
  if (run.status !== 0) return run.status ?? 1
  return JSON.parse(run.stdout) as VolumeState
}

/** The same from our own reader. */
function read({ directory, pin, keyFile }: Laid, keyless = false): VolumeState {
  const anchor = PinFile.open(pin, "read")
  try {
    return readWith(directory, anchor, keyless ? undefined : readFileSync(keyFile))
  } finally {
    anchor.close()
  }
}

function readWith(directory: string, anchor: Anchor, volumeKey: Buffer | undefined): VolumeState {
  const opened = openStoreForReading({ disk: new NodeDisk(directory), key: volumeKey, anchor })
  const { store, recovery, info } = opened
  const buffer = Buffer.alloc(1024 * 1024)
  const frames: VolumeState["frames"][number][] = []
  for (const { segment } of store.segments().toSorted((a, b) => a.segment - b.segment))
    store.frames(segment, (kind, place) => {
      if (kind === "commit") return
      store.read(kind, place, buffer, 0)
      const digest = sha256(buffer.subarray(0, place.size))
      frames.push({ kind, ...place, sha256: Buffer.from(digest).toString("hex") })
    })
  store.close()
  return {
    sequence: info.sequence,
    tag: Buffer.from(info.tag).toString("hex"),
    state: Buffer.from(recovery.checkpoint ?? []).toString("hex"),
    records: [...recovery.records].map((records) => Buffer.from(records).toString("hex")),
    frames,
  }
}

test("the vectors are what their generator makes", () => {
  const generator = join(import.meta.dirname, "../../tools/vectors-volume.ts")
  const args = ["--disable-warning=ExperimentalWarning", generator, "--check"]
  assert.equal(spawnSync(process.execPath, args, { encoding: "utf8" }).stderr, "")
})

for (const protection of ["encrypted", "authenticated"] as const) {
  const vector = volumeVector(protection)
  const lays = (files: ReadonlyMap<string, Uint8Array>) =>
    lay(files, Buffer.from(vector.pin, "hex"), Buffer.from(vector.key, "hex"))

  test(`${protection} vector: our reader gives what it must, and writing goes on from there`, () => {
    const laid = lays(filesOf(vector))
    assert.deepEqual(read(laid), vector.expect)
    if (protection === "authenticated") assert.deepEqual(read(laid, true), vector.expect)
    const anchor = PinFile.open(laid.pin, "write")
    const volumeKey = readFileSync(laid.keyFile)
    const opened = openStore({ disk: new NodeDisk(laid.directory), key: volumeKey, anchor })
    assert.deepEqual(
      [...opened.recovery.records].map((records) => Buffer.from(records).toString("hex")),
      vector.expect.records,
    )
    opened.store.close()
    anchor.close()
  })

  for (const change of vector.changes)
    test(`${protection} vector, ${change.layer}: ${change.name}`, () => {
      const laid = lays(filesOf(vector, change))
      const fails = () => read(laid)
      const wanted = change.fails === "read" ? 3 : change.fails
      assert.throws(fails, (error) => {
        assert.ok(error instanceof CofferError, String(error))
        assert.equal(exitCodeOf(error), wanted, error.message)
        if (change.fails === "read") assert.equal(error.reason, "damaged-frame")
        return true
      })
      if (works) assert.equal(decoded(laid), wanted, "the second decoder")
    })

  test(`${protection} vector: the second decoder gives the same`, { skip }, () => {
    const laid = lays(filesOf(vector))
    assert.deepEqual(decoded(laid), vector.expect)
    if (protection === "authenticated") assert.deepEqual(decoded(laid, true), vector.expect)
  })

  test(`${protection}: the second decoder reads what our writer wrote`, { skip }, () => {
    count += 1
    const directory = join(folder, `w${count}`)
    const pin = `${directory}.pin`
    const anchor = PinFile.create(pin)
    const disk = new NodeDisk(directory)
    const settings = { segmentSize: 256 * 1024, readerGraceMs: 0 }
    const first = createStore({ disk, key, protection, anchor, settings })
    session(new Tiny(first), 40, seeded(5), () => undefined)
    first.store.rekey(Buffer.alloc(32, 9))
    session(new Tiny(first), 5, seeded(6), () => undefined)
    first.store.close()
    const newKey = Buffer.alloc(32, 9)
    const second = openStore({ disk: new NodeDisk(directory), key: newKey, anchor, settings })
    session(new Tiny(second), 10, seeded(7), () => undefined)
    second.store.close()
    anchor.close()
    const keyFile = `${directory}.key`
    writeFileSync(keyFile, newKey)
    const laid = { directory, pin, keyFile }
    const ours = read(laid)
    assert.ok(ours.frames.length > 50)
    assert.deepEqual(decoded(laid), ours)
    if (protection === "authenticated") assert.deepEqual(decoded(laid, true), ours)
  })
}
