import type { Io } from "../../src/cli/io.ts"
import { main } from "../../src/cli/main.ts"

export interface CliRun {
  readonly code: number
  /** Lines on stdout. */
  readonly out: readonly string[]
  readonly err: string
}

/** Runs one command line in this process, without a terminal and with an empty environment. */
export async function coffer(...argv: readonly string[]): Promise<CliRun> {
  const out: string[] = []
  const err: string[] = []
  const io: Io = {
    env: {},
    terminal: false,
    columns: 80,
    exitCode: 0,
    print: (line) => out.push(...line.split("\n")),
    write: (bytes) => out.push(Buffer.from(bytes).toString("latin1")),
    warn: (line) => err.push(line),
    warnRaw: (text) => err.push(text),
  }
  const code = await main(argv, io)
  return { code, out, err: err.join("\n") }
}
