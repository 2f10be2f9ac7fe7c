import type { Disk } from "../../src/volume/index.ts"

/** What happened to the disk, in order. `note` marks what the workload had been promised by then. */
export type DiskEvent =
  | { readonly kind: "create"; readonly name: string }
  | { readonly kind: "write"; readonly name: string; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: "sync"; readonly name: string }
  | { readonly kind: "syncNames" }
  | { readonly kind: "remove"; readonly name: string }
  | { readonly kind: "note"; readonly text: string }

export type Files = ReadonlyMap<string, Buffer>

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code, syscall: "simulated" })
}

/** A disk in memory that records what reaches it. `failSync`: that fdatasync from now on fails once. */
export class RecordingDisk implements Disk {
  readonly path = "recorded"
  readonly events: DiskEvent[] = []
  readonly #files = new Map<string, Buffer>()
  readonly #open = new Map<number, string>()
  readonly #reserved = new Map<string, number>()
  #lastFd = 100
  failSync: number | undefined
  capacity = Number.MAX_SAFE_INTEGER
  #made = false

  constructor(files: Files = new Map()) {
    for (const [name, bytes] of files) this.#files.set(name, Buffer.from(bytes))
    this.#made = this.#files.size > 0
  }

  get files(): Files {
    return new Map([...this.#files].map(([name, bytes]) => [name, Buffer.from(bytes)]))
  }

  note(text: string): void {
    this.events.push({ kind: "note", text })
  }

  initialise(): void {
    if (this.#made) throw systemError("EEXIST")
    this.#made = true
  }

  lock(): boolean {
    return true
  }

  unlock(): void {}

  segments(): string[] {
    return [...this.#files.keys()]
      .filter((name) => name.startsWith("segments/"))
      .map((name) => name.slice(9))
  }

  open(name: string): number {
    if (!this.#files.has(name)) throw systemError("ENOENT")
    this.#lastFd += 1
    this.#open.set(this.#lastFd, name)
    return this.#lastFd
  }

  create(name: string): number {
    if (this.#files.has(name)) throw systemError("EEXIST")
    this.#files.set(name, Buffer.alloc(0))
    this.events.push({ kind: "create", name })
    return this.open(name)
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw systemError("EBADF")
  }

  size(fd: number): number {
    return this.#bytes(fd).length
  }

  modified(): number {
    return 0
  }

  read(fd: number, target: Uint8Array, at: number, size: number, position: number): number {
    return this.#bytes(fd).copy(target, at, position, position + size)
  }

  write(fd: number, source: Uint8Array, at: number, size: number, position: number): void {
    const name = this.#name(fd)
    const bytes = Buffer.from(source.subarray(at, at + size))
    this.#files.set(name, patched(this.#bytes(fd), position, bytes))
    this.events.push({ kind: "write", name, at: position, bytes })
  }

  reserve(fd: number, offset: number, size: number): boolean {
    const name = this.#name(fd)
    const before = this.#reserved.get(name) ?? 0
    this.#reserved.set(name, Math.max(before, offset + size))
    if (this.used <= this.capacity) return true
    this.#reserved.set(name, before)
    throw systemError("ENOSPC")
  }

  // A power cut may forget it, so it is no event.
  trim(fd: number, size: number): void {
    const name = this.#name(fd)
    this.#reserved.delete(name)
    this.#files.set(name, this.#bytes(fd).subarray(0, size))
  }

  /** Bytes that files hold or have reserved. */
  get used(): number {
    let sum = 0
    for (const [name, bytes] of this.#files)
      sum += Math.max(bytes.length, this.#reserved.get(name) ?? 0)
    return sum
  }

  sync(fd: number): void {
    if (this.failSync !== undefined) {
      this.failSync -= 1
      if (this.failSync < 0) {
        this.failSync = undefined
        throw systemError("EIO")
      }
    }
    this.events.push({ kind: "sync", name: this.#name(fd) })
  }

  syncDirectory(): void {
    this.events.push({ kind: "syncNames" })
  }

  reload(name: string): void {
    if (!this.#files.has(name)) throw systemError("ENOENT")
    this.events.push({ kind: "sync", name })
  }

  remove(name: string): void {
    if (!this.#files.delete(name)) throw systemError("ENOENT")
    this.#reserved.delete(name)
    this.events.push({ kind: "remove", name })
  }

  space(): { readonly free: number; readonly total: number } {
    return { free: 1e12, total: 1e12 }
  }

  get openCount(): number {
    return this.#open.size
  }

  #name(fd: number): string {
    const name = this.#open.get(fd)
    if (name === undefined) throw systemError("EBADF")
    return name
  }

  #bytes(fd: number): Buffer {
    return this.#files.get(this.#name(fd)) ?? Buffer.alloc(0)
  }
}

function patched(bytes: Buffer, at: number, patch: Uint8Array): Buffer {
  const out = Buffer.alloc(Math.max(bytes.length, at + patch.length))
  bytes.copy(out)
  out.set(patch, at)
  return out
}

interface Write {
  readonly at: number
  readonly bytes: Buffer
}

interface CutFile {
  durable: Buffer
  pending: Write[]
  /** The name is on the disk for certain. */
  named: boolean
}

const sector = 512

/**
 * What a power cut after the first `count` events leaves. `choose` decides, for each sector of a write that was not synced, and
 * for each name, whether it reached the disk: `() => true` is a killed process, `() => false` the least that a disk may keep.
 */
export function afterCut(
  events: readonly DiskEvent[],
  count: number,
  choose: () => boolean,
): Files {
  const files = new Map<string, CutFile>()
  const removed = new Map<string, CutFile>()
  for (const event of events.slice(0, count)) applyEvent(files, removed, event)
  for (const [name, file] of removed) if (!choose()) files.set(name, file)
  const out = new Map<string, Buffer>()
  for (const [name, file] of files) {
    if (!file.named && !choose()) continue
    out.set(name, withSome(file, choose))
  }
  return out
}

function applyEvent(
  files: Map<string, CutFile>,
  removed: Map<string, CutFile>,
  event: DiskEvent,
): void {
  switch (event.kind) {
    case "create":
      files.set(event.name, {
        durable: Buffer.alloc(0),
        pending: [],
        named: event.name === "header",
      })
      return
    case "write":
      files.get(event.name)?.pending.push({ at: event.at, bytes: event.bytes })
      return
    case "sync": {
      const file = files.get(event.name)
      if (file !== undefined) settle(file)
      return
    }
    case "syncNames":
      for (const file of files.values()) file.named = true
      removed.clear()
      return
    case "remove": {
      const file = files.get(event.name)
      if (file?.named === true) removed.set(event.name, file)
      files.delete(event.name)
      return
    }
    case "note":
  }
}

function settle(file: CutFile): void {
  for (const { at, bytes } of file.pending.splice(0))
    file.durable = patched(file.durable, at, bytes)
}

function withSome(file: CutFile, choose: () => boolean): Buffer {
  let out = file.durable
  for (const { at, bytes } of file.pending) {
    let start = at
    while (start < at + bytes.length) {
      const end = Math.min(at + bytes.length, (Math.floor(start / sector) + 1) * sector)
      if (choose()) out = patched(out, start, bytes.subarray(start - at, end - at))
      start = end
    }
  }
  return out
}

/** A small generator with a printed seed: mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
