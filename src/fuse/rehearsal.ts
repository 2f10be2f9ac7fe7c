import type { FileSystem } from "./filesystem.ts"
import { metricsMemory } from "./metrics.ts"
import { Session } from "./session.ts"
import {
  entryOut,
  errno,
  getxattrIn,
  inHeader,
  inHeaderSize,
  initFlags,
  initIn,
  mknodIn,
  offsetOf,
  opcodes,
  outHeader,
  outHeaderSize,
  readIn,
  setattrIn,
  setattrValid,
  writeIn,
} from "./wire.ts"

const root = 1
const page = 4096
const mebi = 1 << 20
const rounds = 12
const fileCount = 200
const streamSize = mebi
const readSize = 128 * 1024
const randomReads = 100
const fileMode = 0o100644

/**
 * A thread serves its first thousands of requests at half its speed: V8 compiles only what has run often. So a thread that
 * nobody asks anything rehearses: it answers requests that nobody has made, as the kernel sends them for the common work
 * with files. `open` gives a filesystem that is empty at first, holds what it held when it is opened again, and is nobody's.
 * Yields often, each time after a fraction of a millisecond. Throws when an answer is wrong.
 */
export function* rehearsal(open: () => FileSystem): Generator<void> {
  for (let round = 0; round < rounds; round += 1) {
    const fs = open()
    try {
      yield
      const player = new Player(fs)
      if (round === 0) yield* write(player)
      yield* read(player)
      yield* change(player)
      yield
    } finally {
      fs.destroy()
    }
    yield
  }
}

function* write(player: Player): Generator<void> {
  const stream = player.make("stream")
  for (let at = 0; at < streamSize; at += readSize) {
    player.write(stream, at, readSize)
    yield
  }
  for (let i = 0; i < fileCount; i += 1) {
    player.write(player.make(`file-${i}`), 0, page)
    yield
  }
}

function* read(player: Player): Generator<void> {
  for (let i = 0; i < fileCount; i += 1) {
    const file = player.find(`file-${i}`)
    player.getattr(file)
    player.read(file, 0, page)
    player.forget(file)
    yield
  }
  const stream = player.find("stream")
  for (let at = 0; at < streamSize; at += readSize) {
    player.read(stream, at, readSize)
    yield
  }
  const pages = streamSize / page
  for (let i = 0; i < randomReads; i += 1) {
    player.read(stream, page * ((i * 37) % pages), page)
    yield
  }
  player.list(root)
  yield
  player.fsync(stream)
  yield
}

function* change(player: Player): Generator<void> {
  for (let i = 0; i < fileCount; i += 4) {
    const file = player.make(`new-${i}`)
    player.write(file, 0, page)
    player.rename(`new-${i}`, `newer-${i}`)
    player.touch(file)
    player.unlink(`newer-${i}`)
    player.touch(file)
    player.forget(file)
    yield
  }
}

const inodeAt = outHeaderSize + offsetOf(entryOut, "nodeid")

/** Says what the kernel would say. The names are all in the root. */
class Player {
  readonly #session: Session
  readonly #input: Buffer
  readonly #output: Buffer

  constructor(fs: FileSystem) {
    this.#session = new Session(fs, metricsMemory(), {
      answer: () => undefined,
      report: (error) => {
        throw error
      },
    })
    this.#input = Buffer.from(this.#session.input)
    this.#output = Buffer.from(this.#session.output)
    this.#put(initIn, "major", 7)
    this.#put(initIn, "minor", 41)
    this.#put(initIn, "maxReadahead", readSize)
    this.#put(initIn, "flags", Object.values(initFlags).reduce((all, flag) => all | flag) >>> 0)
    this.#ask(opcodes.INIT, 0, 64)
  }

  /** A new file, and what the kernel asks before and after. */
  make(name: string): number {
    this.#named(opcodes.LOOKUP, 0, name)
    this.getattr(root)
    this.#put(mknodIn, "mode", fileMode)
    this.#named(opcodes.MKNOD, 16, name)
    const file = this.#output.readUInt32LE(inodeAt)
    this.#put(getxattrIn, "size", 0)
    this.#named(opcodes.GETXATTR, 8, "security.capability", file)
    return file
  }

  find(name: string): number {
    this.#named(opcodes.LOOKUP, 0, name)
    return this.#output.readUInt32LE(inodeAt)
  }

  forget(inode: number): void {
    this.#clear(8)
    this.#input.writeUInt32LE(1, inHeaderSize)
    this.#ask(opcodes.FORGET, inode, 8)
  }

  getattr(inode: number): void {
    this.#clear(16)
    this.#ask(opcodes.GETATTR, inode, 16)
  }

  /** The time of the last change, as the kernel sends it with a writeback cache. */
  touch(inode: number): void {
    this.#clear(88)
    this.#put(setattrIn, "valid", setattrValid.MTIME | setattrValid.CTIME)
    this.#put(setattrIn, "mtime", 1)
    this.#put(setattrIn, "ctime", 1)
    this.#ask(opcodes.SETATTR, inode, 88)
  }

  read(inode: number, offset: number, size: number): void {
    this.#clear(40)
    this.#put(readIn, "offset", offset)
    this.#put(readIn, "size", size)
    this.#ask(opcodes.READ, inode, 40)
  }

  write(inode: number, offset: number, size: number): void {
    this.#clear(40)
    this.#put(writeIn, "offset", offset)
    this.#put(writeIn, "size", size)
    this.#ask(opcodes.WRITE, inode, 40 + size)
  }

  list(inode: number): void {
    this.#clear(40)
    this.#put(readIn, "size", readSize)
    this.#ask(opcodes.READDIRPLUS, inode, 40)
  }

  fsync(inode: number): void {
    this.#clear(16)
    this.#ask(opcodes.FSYNC, inode, 16)
  }

  rename(from: string, to: string): void {
    this.#named(opcodes.LOOKUP, 0, to)
    this.#clear(8)
    this.#input.writeUInt32LE(root, inHeaderSize)
    this.#named(opcodes.RENAME, 8, `${from}\0${to}`)
  }

  unlink(name: string): void {
    this.#named(opcodes.UNLINK, 0, name)
  }

  #put(table: Parameters<typeof offsetOf>[0], field: string, value: number): void {
    this.#input.writeUInt32LE(value, inHeaderSize + offsetOf(table, field))
  }

  #clear(size: number): void {
    this.#input.fill(0, inHeaderSize, inHeaderSize + size)
  }

  #named(opcode: number, at: number, name: string, inode = root): void {
    const size = this.#input.write(`${name}\0`, inHeaderSize + at, "latin1")
    this.#ask(opcode, inode, at + size)
  }

  #ask(opcode: number, inode: number, bodySize: number): void {
    const size = inHeaderSize + bodySize
    const header = this.#input
    header.fill(0, 0, inHeaderSize)
    header.writeUInt32LE(size, offsetOf(inHeader, "len"))
    header.writeUInt32LE(opcode, offsetOf(inHeader, "opcode"))
    header.writeUInt32LE(2, offsetOf(inHeader, "unique"))
    header.writeUInt32LE(inode, offsetOf(inHeader, "nodeid"))
    if (this.#session.handle(size, performance.now()) === 0) return
    const error = this.#output.readInt32LE(offsetOf(outHeader, "error"))
    if (error < 0 && error !== errno.ENODATA)
      throw new Error(`rehearsal: opcode ${opcode}: wanted an answer, found errno ${-error}`)
  }
}
