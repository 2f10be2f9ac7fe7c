import { writeSync } from "node:fs"
import { isErrno } from "../errors.ts"

/** All that a command may know of the process. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  /** True when stderr is a terminal: progress bars and colour. */
  readonly terminal: boolean
  /** Columns of the terminal, 80 when it is none. */
  readonly columns: number
  /** One line on stdout. */
  print(line: string): void
  /** Raw bytes on stdout. */
  write(bytes: Uint8Array): void
  /** One line on stderr. */
  warn(line: string): void
  /** Raw text on stderr, for progress. */
  warnRaw(text: string): void
  /** What the process ends with when no error is thrown. */
  exitCode: number
}

/**
 * The same, but that no line has control or direction characters: what images, volumes and policies say comes from the
 * adversary, and a terminal would obey it. They are written as JSON writes them, so JSON stays what it is.
 */
export function visibleIo(io: Io): Io {
  return {
    ...io,
    print: (line) => io.print(visible(line)),
    warn: (line) => io.warn(visible(line)),
  }
}

function visible(line: string): string {
  return line.replace(/(?![\n\t])[\p{Cc}\p{Cf}]/gu, (found) =>
    Array.from(found.split(""), (unit) => unitEscape(unit.charCodeAt(0))).join(""),
  )
}

function unitEscape(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, "0")}`
}

// Synchronous and complete: a pipe may take a part of the bytes, or none for now.
function writeAll(fd: number, bytes: Uint8Array): void {
  let at = 0
  while (at < bytes.length) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      if (isErrno(error, "EPIPE")) return
      if (!isErrno(error, "EAGAIN")) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

function text(fd: number, value: string): void {
  writeAll(fd, Buffer.from(value, "utf8"))
}

export function processIo(): Io {
  return {
    // oxlint-disable-next-line node/no-process-env -- the one place that reads the environment
    env: process.env,
    terminal: process.stderr.isTTY,
    columns: process.stderr.isTTY ? process.stderr.columns : 80,
    print: (line) => text(1, `${line}\n`),
    write: (bytes) => writeAll(1, bytes),
    warn: (line) => text(2, `${line}\n`),
    warnRaw: (value) => text(2, value),
    exitCode: 0,
  }
}
