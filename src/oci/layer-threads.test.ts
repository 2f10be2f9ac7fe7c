import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { CofferError } from "../errors.ts"
import type { LayerJob } from "./layer-jobs.ts"
import { LayerThreads } from "./layer-threads.ts"
import type { Compression } from "./pass.ts"

const quiet = () => undefined

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`
}

interface MadeJob {
  readonly job: LayerJob
  readonly plain: Uint8Array
  readonly stored: Uint8Array
  readonly target: string
}

/** Jobs over files that are open while the test runs, behind some bytes that are none of theirs. */
function makeJobs(t: TestContext, count: number): readonly MadeJob[] {
  const folder = mkdtempSync(join(tmpdir(), "layers-"))
  t.after(() => rmSync(folder, { recursive: true }))
  const open = (path: string, flags: string): number => {
    const fd = openSync(path, flags)
    t.after(() => closeSync(fd))
    return fd
  }
  return Array.from({ length: count }, (_, i) => {
    const plain = Buffer.alloc(700_000 + i, `layer ${i} `)
    const compression: Compression = (["gzip", "zstd", "plain"] as const)[i % 3] ?? "plain"
    const stored =
      compression === "plain"
        ? plain
        : compression === "gzip"
          ? gzipSync(plain)
          : zstdCompressSync(plain)
    const [source, target] = [join(folder, `source-${i}`), join(folder, `target-${i}`)]
    writeFileSync(source, Buffer.concat([Buffer.alloc(i), stored]))
    const place = { fd: open(source, "r"), offset: i, size: stored.length }
    const what = `layer ${i}`
    const limit = 1 << 20
    return {
      job: { what, place, compression, target: open(target, "w+"), limit },
      plain,
      stored,
      target,
    }
  })
}

test("any number of workers finds the same, and writes the same", async (t) => {
  for (const workerCount of [0, 1, 3]) {
    const made = makeJobs(t, 7)
    let done = 0
    const threads = new LayerThreads(
      made.map(({ job }) => job),
      1 << 30,
      (bytes) => (done = bytes),
      workerCount,
    )
    for (const [i, { plain, stored, target }] of made.entries()) {
      const found = await threads.passed(i)
      assert.deepEqual(found, {
        digest: digestOf(stored),
        plainDigest: digestOf(plain),
        size: plain.length,
      })
      assert.deepEqual(readFileSync(target), plain)
    }
    await threads.stop()
    if (workerCount === 0)
      assert.equal(
        done,
        made.reduce((sum, { plain }) => sum + plain.length, 0),
      )
  }
})

test("what a worker fails at is met by who asks, and what it has written before is gone", async (t) => {
  for (const workerCount of [0, 2]) {
    const made = makeJobs(t, 3)
    const jobs = made.map(({ job, target }, i) => {
      if (i === 1) writeFileSync(target, Buffer.alloc(2_000_000, "old"))
      return i === 0 ? { ...job, place: { ...job.place, size: job.place.size - 1 } } : job
    })
    const threads = new LayerThreads(jobs, 1 << 30, quiet, workerCount)
    await assert.rejects(
      threads.passed(0),
      (error) =>
        error instanceof CofferError &&
        error.code === "integrity" &&
        /layer 0: wanted whole compressed data/.test(error.message),
    )
    await threads.passed(1)
    assert.deepEqual(readFileSync(made[1]?.target ?? ""), made[1]?.plain)
    await threads.stop()
  }
})

function refused(limit: number): (error: unknown) => boolean {
  return (error) =>
    error instanceof CofferError &&
    error.code === "config" &&
    error.message.includes(`wanted at most ${limit} bytes after decompression, found more`)
}

test("each layer has a limit, and all together have one, in whatever threads they are", async (t) => {
  for (const workerCount of [0, 2]) {
    const one = makeJobs(t, 2).map(({ job }) => ({ ...job, limit: 500_000 }))
    const alone = new LayerThreads(one, 1 << 30, quiet, workerCount)
    await assert.rejects(alone.passed(0), refused(500_000))
    await alone.stop()
    const all = makeJobs(t, 4).map(({ job }) => job)
    const together = new LayerThreads(all, 2_500_000, quiet, workerCount)
    await assert.rejects(async () => {
      for (const i of all.keys()) await together.passed(i)
    }, refused(2_500_000))
    await together.stop()
  }
})
