import assert from "node:assert/strict"
import { test } from "node:test"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import { MemoryStore } from "../../src/volume/store/memory-store.ts"
import { MemoryFileSystem } from "../suites/memory-fs.ts"
import { randomOf, Twins } from "./model.ts"

const done = { waiting: true, done: () => undefined }

for (let seed = 1; seed <= 12; seed += 1)
  test(`the volume does what the model does (seed ${seed})`, () => {
    const random = randomOf(seed)
    const store = new MemoryStore({ segmentSize: 1 << (17 + random(4)) })
    const errors: unknown[] = []
    const open = (kept: "all" | "synced") =>
      new VolumeFileSystem(store, store.recovery(kept), {
        random: () => [seed, 77],
        cacheSize: (seed % 2 === 0 ? 20 : 2000) * 8192,
        report: (error) => errors.push(error),
      })
    let volume = open("all")
    const twins = new Twins(new MemoryFileSystem(), volume, random, {
      names: seed % 3 === 0 ? 200 : 8,
      fileSize: seed % 4 === 0 ? 2_000_000 : 90_000,
      writeSize: 120_000,
    })
    for (let step = 0; step < 1200; step += 1) {
      try {
        twins.step()
        if (step % 10 === 0) volume.tick(performance.now() + 60_000 * random(2))
        if (step % 150 !== 149) continue
        twins.compare()
        const crash = random(2) === 0
        if (random(3) === 0) volume.core.checkpoint()
        if (random(3) === 0) volume.core.compaction.runAll(() => undefined)
        assert.equal(volume.fsync(1, false, done), 0)
        assert.deepEqual(checkIndex(volume.core), [])
        twins.forgetSome()
        if (crash) assert.equal(volume.fsync(1, false, done), 0)
        else volume.destroy()
        volume = open(crash ? "synced" : "all")
        twins.tested = volume
        twins.compare()
        assert.deepEqual(checkIndex(volume.core), [])
        assert.deepEqual(errors, [])
      } catch (cause) {
        throw new Error(`seed ${seed}, step ${step}, ${twins.last}`, { cause })
      }
    }
  })
