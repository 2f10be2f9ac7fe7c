/** Volumes on a disk that is full again and again: what they refuse, what they may not lose, and that space comes back. */
import assert from "node:assert/strict"
import { test } from "node:test"
import type { ByteString } from "../../src/bytes/index.ts"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { newAttributes } from "../../src/volume/fs/requests.ts"
import type { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import { fileSystemOn } from "../../src/volume/open-volume.ts"
import { MemoryDisk } from "../../src/volume/store/memory-disk.ts"
import { createStore, openStore } from "../../src/volume/store/open.ts"
import { randomOf } from "../volume/model.ts"

const kibi = 1024
const mebi = 1024 * kibi
const block = 4 * kibi
const noSpace = -28
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 }
const noChange = {
  uid: undefined,
  gid: undefined,
  size: undefined,
  atime: undefined,
  mtime: undefined,
  ctime: undefined,
  killPriv: false,
}
const done = { waiting: true, done: () => undefined }
const out = newAttributes()
const key = new Uint8Array(32).fill(7)

/** A disk in memory with so many bytes, given out in blocks, as tmpfs and ext4 do. */
class SmallDisk extends MemoryDisk {
  readonly #capacity: number
  readonly #names = new Map<number, string>()
  /** Of each file the bytes up to which it has blocks. */
  readonly #taken = new Map<string, number>()

  constructor(capacity: number) {
    super()
    this.#capacity = capacity
  }

  override open(name: string): number {
    const fd = super.open(name)
    this.#names.set(fd, name)
    return fd
  }

  override reserve(fd: number, offset: number, size: number): boolean {
    this.#take(fd, offset + size)
    return true
  }

  override write(fd: number, source: Uint8Array, at: number, size: number, position: number): void {
    this.#take(fd, position + size)
    super.write(fd, source, at, size, position)
  }

  override trim(fd: number, size: number): void {
    super.trim(fd, size)
    this.#taken.set(this.#nameOf(fd), Math.ceil(size / block) * block)
  }

  override remove(name: string): void {
    super.remove(name)
    this.#taken.delete(name)
  }

  override space(): { readonly free: number; readonly total: number } {
    return { free: this.#capacity - this.#used(), total: this.#capacity }
  }

  #used(): number {
    return this.#taken.values().reduce((sum, size) => sum + size, 0)
  }

  #take(fd: number, end: number): void {
    const name = this.#nameOf(fd)
    const before = this.#taken.get(name) ?? 0
    const wanted = Math.ceil(end / block) * block
    if (wanted <= before) return
    if (this.#used() + wanted - before > this.#capacity)
      throw Object.assign(new Error("ENOSPC: full"), { code: "ENOSPC", syscall: "fallocate" })
    this.#taken.set(name, wanted)
  }

  #nameOf(fd: number): string {
    return this.#names.get(fd) ?? ""
  }
}

interface File {
  readonly inode: number
  readonly mark: number
  readonly size: number
}

/** A volume on a small disk, and what must be in it. */
class FullVolume {
  readonly #disk: SmallDisk
  readonly #capacity: number
  readonly #settings: { readonly segmentSize?: number }
  readonly #random: (below: number) => number
  readonly #files = new Map<string, File>()
  #fs: VolumeFileSystem
  #made = 0
  #clock = 0

  constructor(seed: number, segmentSize: number | undefined) {
    this.#settings = segmentSize === undefined ? {} : { segmentSize }
    this.#random = randomOf(seed)
    this.#capacity = ((segmentSize === undefined ? 12 : 48) + this.#random(28)) * mebi
    this.#disk = new SmallDisk(this.#capacity)
    this.#fs = this.#mounted(createStore({ ...this.#how, protection: "encrypted" }))
  }

  get #how() {
    return { disk: this.#disk, key, settings: this.#settings }
  }

  #mounted(opened: Parameters<typeof fileSystemOn>[0]): VolumeFileSystem {
    return fileSystemOn(opened, {}, (error) => assert.ifError(error))
  }

  /** Until the disk refuses. */
  fill(): void {
    for (let i = 0; i < 3000; i += 1) {
      if (!this.#put(this.#sizeOfFile())) return
      if (this.#random(3) === 0) this.sync()
      if (this.#random(10) === 0) this.rest()
    }
    assert.fail("the disk is never full")
  }

  /** Until no more than that share of the disk is in use. */
  thin(share: number): void {
    for (const [name, { inode }] of this.#files) {
      if (this.#live <= share * this.#capacity) return
      if (this.#random(3) === 0) continue
      assert.equal(this.#fs.unlink(1, name as ByteString), 0)
      this.#fs.forget(inode)
      this.#files.delete(name)
      if (this.#random(4) === 0) this.sync()
      if (this.#random(8) === 0) this.rest()
    }
    if (this.#live > share * this.#capacity) this.thin(share)
  }

  /** There is room again, at once. */
  writes(): void {
    assert.ok(this.#put(mebi / 4), `${this.#live} of ${this.#capacity} bytes, and no room`)
    this.sync()
  }

  /** Little changes, each synced: they may use most of the reserve, and not the last of it. */
  scribble(count: number): void {
    const [name, file] = [...this.#files].at(-1) ?? []
    if (name === undefined || file === undefined) return
    let { size } = file
    for (let i = 0; i < count; i += 1) {
      const mode = 0o600 + (i % 64)
      const changed: number =
        i % 2 === 0
          ? this.#fs.setattr(file.inode, { ...noChange, mode }, out)
          : this.#fs.write(file.inode, size, Buffer.alloc(100, file.mark), 0, 100, false)
      if (changed === 100) size += 100
      else assert.ok(changed === 0 || changed === noSpace, `${changed}`)
      this.sync()
    }
    this.#files.set(name, { ...file, size })
  }

  sync(): void {
    assert.equal(this.#fs.fsync(1, false, done), 0)
  }

  /** Nobody asks for anything for some seconds. */
  rest(): void {
    this.#clock += 6000
    for (let i = 0; i < 50 && this.#fs.tick(performance.now() + this.#clock) === 0; i += 1);
  }

  remount(): void {
    this.#fs.destroy()
    this.#fs = this.#mounted(openStore(this.#how))
    for (const [name, file] of this.#files) {
      assert.equal(this.#fs.lookup(1, name as ByteString, out), 0)
      this.#files.set(name, { ...file, inode: out.inode })
    }
  }

  check(): void {
    for (const [name, { inode, mark, size }] of this.#files) {
      const found = Buffer.alloc(size)
      assert.equal(this.#fs.read(inode, 0, size, found, 0), size)
      assert.ok(found.equals(Buffer.alloc(size, mark)), name)
    }
    this.sync()
    assert.deepEqual(checkIndex(this.#fs.core), [])
  }

  close(): void {
    this.#fs.destroy()
  }

  get #live(): number {
    return this.#files.values().reduce((sum, { size }) => sum + size, 0)
  }

  #sizeOfFile(): number {
    return this.#random(2) === 0 ? 1 + this.#random(20 * kibi) : 1 + this.#random(mebi)
  }

  #put(size: number): boolean {
    this.#made += 1
    const name = `f${this.#made}`
    const mark = this.#made % 251
    const made = this.#fs.mknod(1, name as ByteString, 0o100644, 0, caller, out)
    if (made === noSpace) return false
    assert.equal(made, 0)
    const { inode } = out
    const written = this.#fs.write(inode, 0, Buffer.alloc(size, mark), 0, size, false)
    if (written === size) {
      this.#files.set(name, { inode, mark, size })
      return true
    }
    assert.equal(written, noSpace)
    assert.equal(this.#fs.unlink(1, name as ByteString), 0)
    this.#fs.forget(inode)
    return false
  }
}

function live(volume: FullVolume): void {
  for (let round = 0; round < 4; round += 1) {
    volume.fill()
    volume.check()
    volume.scribble(round === 2 ? 5000 : 10)
    if (round % 2 === 1) volume.remount()
    volume.thin(0.45)
    volume.writes()
    volume.rest()
    volume.check()
    if (round % 2 === 0) volume.remount()
  }
  volume.close()
}

for (const segmentSize of [undefined, 4 * mebi])
  test(`a disk that is full again and again, ${segmentSize ?? "small"} segments: deletes, syncs, reads and mounts go on, and space comes back`, () => {
    // oxlint-disable-next-line node/no-process-env -- for a longer run by hand
    const [first = 1, last = 8] = (process.env["COFFER_SEEDS"]?.split("-") ?? []).map(Number)
    for (let seed = first; seed <= last; seed += 1) {
      const volume = new FullVolume(seed, segmentSize)
      try {
        live(volume)
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error })
      }
    }
  })
