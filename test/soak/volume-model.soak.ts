/** The model test of `test/volume` with many more seeds and longer runs; COFFER_SEED starts elsewhere. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import { MemoryStore } from "../../src/volume/store/memory-store.ts"
import { MemoryFileSystem } from "../suites/memory-fs.ts"
import { randomOf, Twins } from "../volume/model.ts"

const done = { waiting: true, done: () => undefined }
const first = Number(process.env["COFFER_SEED"] ?? 1000)

function run(seed: number): void {
  const random = randomOf(seed)
  const store = new MemoryStore({ segmentSize: 1 << (17 + random(4)) })
  const open = (kept: "all" | "synced") =>
    new VolumeFileSystem(store, store.recovery(kept), {
      random: () => [seed, 77],
      cacheSize: (seed % 2 === 0 ? 20 : 2000) * 8192,
    })
  let volume = open("all")
  const limits = { names: seed % 3 === 0 ? 200 : 8, fileSize: 90_000, writeSize: 120_000 }
  const twins = new Twins(new MemoryFileSystem(), volume, random, limits)
  for (let step = 0; step < 2000; step += 1) {
    try {
      twins.step()
      if (step % 10 === 0) volume.tick(performance.now() + 60_000 * random(2))
      if (step % 250 !== 249) continue
      if (random(3) === 0) volume.core.checkpoint()
      if (random(3) === 0) volume.compact(() => undefined)
      assert.equal(volume.fsync(1, false, done), 0)
      assert.deepEqual(checkIndex(volume.core), [])
      twins.forgetSome()
      assert.equal(volume.fsync(1, false, done), 0)
      const crash = random(2) === 0
      if (!crash) volume.destroy()
      volume = open(crash ? "synced" : "all")
      twins.tested = volume
      twins.compare()
      assert.deepEqual(checkIndex(volume.core), [])
    } catch (cause) {
      throw new Error(`seed ${seed}, step ${step}, ${twins.last}`, { cause })
    }
  }
}

for (let batch = 0; batch < 20; batch += 1)
  test(`the volume does what the model does, batch ${batch}`, () => {
    for (let i = 0; i < 10; i += 1) run(first + batch * 10 + i)
  })
