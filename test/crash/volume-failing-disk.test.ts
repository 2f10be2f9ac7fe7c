/** A disk that fails below a mounted volume, and one that is full. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { CofferError } from "../../src/errors.ts"
import { type AnchorState, PinFile } from "../../src/volume/index.ts"
import { memoryMount } from "../support/memory-mount.ts"
import { cannotServe, VolumeDaemon } from "../support/volume-daemon.ts"

function writeSynced(path: string, content: string | Buffer): void {
  const fd = openSync(path, "w")
  try {
    writeSync(fd, Buffer.from(content))
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

const contentOf = (i: number) => Buffer.alloc(1024 * 1024, i)

const hasErrno = (code: string) => (error: unknown) =>
  (error as NodeJS.ErrnoException).code === code

test("a failed fdatasync is EIO to its caller, never a success later; the mount says what to do, and ends with 7", {
  skip: cannotServe(),
}, async (t) => {
  const disk = await memoryMount()
  t.after(() => disk.end())
  const daemon = await VolumeDaemon.create({ disk: disk.directory })
  try {
    await daemon.start()
    const kept = join(daemon.mount, "kept")
    writeSynced(kept, "acknowledged")
    writeFileSync(join(disk.directory, "fail-sync"), "")
    assert.throws(() => writeSynced(join(daemon.mount, "lost"), "never"), hasErrno("EIO"))
    rmSync(join(disk.directory, "fail-sync"))
    // The disk works again, but what it has dropped meanwhile nobody knows.
    assert.throws(() => writeSynced(kept, "later"), hasErrno("EROFS"))
    assert.throws(() => mkdirSync(join(daemon.mount, "directory")), hasErrno("EROFS"))
    assert.equal(readFileSync(kept, "utf8"), "acknowledged")
    assert.equal(await daemon.stop(), 7)
    assert.match(
      daemon.errors,
      /"incident":\{"code":"io","message":"[^"]*: the volume is read-only now"/,
    )
    assert.match(
      daemon.errors,
      /"hint":"what was synced before is safe; check the disk, then mount again"/,
    )
    assert.match(daemon.errors, /^coffer: .*volume.*: the volume is read-only now$/m)
    daemon.checkWhole()
    await daemon.start()
    assert.equal(readFileSync(kept, "utf8"), "acknowledged")
    writeSynced(kept, "later")
    assert.equal(await daemon.stop(), 0)
  } finally {
    await daemon.end()
  }
})

test("a full disk is ENOSPC to the writer; reads go on, space comes back, nothing is lost", {
  skip: cannotServe(),
}, async (t) => {
  const disk = mkdtempSync(join(tmpdir(), "coffer-full-"))
  t.after(() => {
    spawnSync("umount", ["-l", disk])
    rmdirSync(disk)
  })
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", disk]).status, 0)
  const daemon = await VolumeDaemon.create({ disk })
  try {
    await daemon.start()
    const fileOf = (i: number) => join(daemon.mount, `file-${i}`)
    let count = 0
    const fill = () => {
      for (; count < 100; count += 1) writeSynced(fileOf(count), contentOf(count))
    }
    assert.throws(fill, hasErrno("ENOSPC"))
    assert.ok(count > 20, `${count} files of 1 MiB on 48 MiB`)
    for (let i = 0; i < count; i += 1) assert.ok(readFileSync(fileOf(i)).equals(contentOf(i)))
    for (let i = 0; i <= count; i += 1) if (i % 2 === 0) rmSync(fileOf(i), { force: true })
    for (let i = 0; i < count; i += 2) writeSynced(fileOf(i), contentOf(i).subarray(0, 500_000))
    unlinkSync(fileOf(1))
    assert.equal(await daemon.stop(), 0, daemon.errors)
    daemon.checkWhole()
    await daemon.start()
    for (let i = 3; i < count; i += 2) assert.ok(readFileSync(fileOf(i)).equals(contentOf(i)))
    assert.equal(await daemon.stop(), 0, daemon.errors)
  } finally {
    await daemon.end()
  }
})

const isFault = (error: unknown) => error instanceof CofferError && error.code === "io"

test("a pin whose sync has failed is not believed: the same move again is no success", {
  skip: cannotServe(),
}, async (t) => {
  const disk = await memoryMount()
  t.after(() => disk.end())
  const pin = PinFile.create(join(disk.directory, "pin"))
  const [volumeId, tag, salt] = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte))
  const to = { volumeId, epoch: 1, sequence: 1, tag, salt, offset: 64 } as AnchorState
  writeFileSync(join(disk.directory, "fail-sync"), "")
  assert.throws(() => pin.move("new", to), isFault)
  rmSync(join(disk.directory, "fail-sync"))
  assert.throws(() => pin.move("new", to), isFault)
  assert.throws(() => pin.read(), isFault)
  pin.close()
})
