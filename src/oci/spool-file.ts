import { randomUUID } from "node:crypto"
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { CofferError } from "../errors.ts"
import { scratchError } from "../sys/index.ts"

/** A file without a name, gone when it is closed. */
export interface Spool {
  readonly fd: number
  readonly size: number
  read(target: Uint8Array, position: number): void
  close(): void
}

/** A spool that is being written. */
export class SpoolFile implements Spool {
  readonly fd: number
  size = 0
  readonly #what: string

  constructor(fd: number, what: string) {
    this.fd = fd
    this.#what = what
  }

  /** Forgets what an attempt before has written. */
  clear(): void {
    this.#attempt(() => ftruncateSync(this.fd, 0))
    this.size = 0
  }

  write(chunk: Uint8Array): void {
    this.#attempt(() => {
      for (let at = 0; at < chunk.length; )
        at += writeSync(this.fd, chunk, at, chunk.length - at, this.size + at)
    })
    this.size += chunk.length
  }

  read(target: Uint8Array, position: number): void {
    if (position < 0 || position + target.length > this.size)
      throw new TypeError("read past the end of the spool")
    for (let at = 0; at < target.length; ) {
      const count = readSync(this.fd, target, at, target.length - at, position + at)
      if (count === 0) throw new CofferError("io", `${this.#what}: the temporary file was cut`)
      at += count
    }
  }

  close(): void {
    closeSync(this.fd)
  }

  #attempt(action: () => void): void {
    try {
      action()
    } catch (error) {
      throw scratchError(error, `${this.#what}: temporary file`)
    }
  }
}

/** A new one, empty. */
export function openSpool(what: string): SpoolFile {
  const path = join(tmpdir(), `coffer-spool-${randomUUID()}`)
  try {
    const fd = openSync(path, "wx+", 0o600)
    unlinkSync(path)
    return new SpoolFile(fd, what)
  } catch (error) {
    throw scratchError(error, `${what}: temporary file`)
  }
}

/** What claims to be larger after decompression than `limit` bytes is refused. */
export function requireBelow(limit: number, size: number, what: string): void {
  if (size <= limit) return
  throw new CofferError(
    "config",
    `${what}: wanted at most ${limit} bytes after decompression, found more`,
    {
      hint: "this looks like a decompression bomb; a real layer of that size must come less compressed",
    },
  )
}
