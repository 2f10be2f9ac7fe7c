import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { directory, file } from "../../test/support/sealed.ts"
import { utf8OfByteString } from "../bytes/index.ts"
import type { DirectoryNode } from "../tree/index.ts"
import {
  createStore,
  fileSystemOn,
  NodeDisk,
  openStore,
  PinFile,
  type VolumeFileSystem,
} from "../volume/index.ts"
import { clearUnanchored, seedVolume, wantsSeed } from "./first-start.ts"

const key = new Uint8Array(32).fill(7)
const volumeId = new Uint8Array(32).fill(9)

function inFolder(work: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "coffer-first-"))
  try {
    work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function withVolume(folder: string, work: (fs: VolumeFileSystem, wants: boolean) => void): void {
  const [disk, pin] = [new NodeDisk(join(folder, "volume")), join(folder, "pin")]
  const isNew = !readdirSync(folder).includes("pin")
  const opened = isNew
    ? createStore({ disk, key, protection: "encrypted", volumeId, anchor: PinFile.create(pin) })
    : openStore({ disk, key, anchor: PinFile.open(pin, "write") })
  const fs = fileSystemOn(opened, {}, () => undefined)
  work(fs, wantsSeed(fs, opened.recovery))
  fs.destroy()
}

function namesIn(fs: VolumeFileSystem): string[] {
  const names: string[] = []
  fs.readdir(1, 0, (name) => names.push(name) > 0)
  return names.filter((name) => !name.startsWith("."))
}

const seed = directory({ a: file("a"), deep: directory({ b: file("b") }), z: file("z") })

function cut(): never {
  throw new Error("cut")
}

/** A tree that fails when its last file is read, as a start that is killed there. */
function broken(): DirectoryNode {
  const last = file("z")
  if (last.kind !== "file") throw new TypeError("a file")
  const content = { ...last.content, read: cut }
  return {
    ...seed,
    children: new Map([...seed.children, [utf8OfByteString("z"), { ...last, content }]]),
  }
}

test("a seed that is cut is begun again; one that is there is never touched", () => {
  inFolder((folder) => {
    withVolume(folder, (fs, wants) => {
      assert.ok(wants)
      assert.throws(() => seedVolume(fs, broken()), /cut/)
    })
    withVolume(folder, (fs, wants) => {
      assert.ok(wants, "a part of the seed passed for all of it")
      seedVolume(fs, seed)
      assert.deepEqual(namesIn(fs), ["a", "deep", "z"])
    })
    withVolume(folder, (fs, wants) => {
      assert.ok(!wants)
      fs.unlink(1, utf8OfByteString("a"))
      fs.unlink(1, utf8OfByteString("z"))
    })
    withVolume(folder, (fs, wants) => {
      assert.ok(!wants)
      assert.deepEqual(namesIn(fs), ["deep"])
      assert.deepEqual(fs.listxattr(1), [])
    })
  })
})

test("a creation that was never anchored is cleared away, another volume or other files never", () => {
  inFolder((folder) => {
    withVolume(folder, () => undefined)
    const volume = join(folder, "volume")
    clearUnanchored(volume, new Uint8Array(32).fill(8))
    assert.ok(readdirSync(volume).includes("header"))
    clearUnanchored(volume, volumeId)
    assert.deepEqual(readdirSync(volume), [])
    mkdirSync(join(volume, "segments"))
    clearUnanchored(volume, volumeId)
    assert.deepEqual(readdirSync(volume), [])
    writeFileSync(join(volume, "mine"), "")
    clearUnanchored(volume, volumeId)
    assert.deepEqual(readdirSync(volume), ["mine"])
  })
})
