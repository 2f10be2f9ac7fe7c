import { CommanderError } from "commander"
import { exitCodeOf } from "../errors.ts"
import { type Io, processIo, visibleIo } from "./io.ts"
import { createProgram } from "./program.ts"
import { report } from "./report.ts"

/** Runs one command line (without `node` and the script) and returns its exit code. Never throws. */
export async function main(argv: readonly string[], output: Io): Promise<number> {
  const io = visibleIo(output)
  const program = createProgram(io)
  try {
    await program.parseAsync([...argv], { from: "user" })
    return io.exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    report(error, io, argv.includes("--json"))
    return exitCodeOf(error)
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2), processIo())
