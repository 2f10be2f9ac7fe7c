import { CommanderError } from "commander"
import { CofferError, exitCodeOf } from "../errors.ts"
import { type Io, processIo } from "./io.ts"
import { createProgram } from "./program.ts"

/** Runs one command line (without `node` and the script) and returns its exit code. Never throws. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
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

function report(error: unknown, io: Io, json: boolean): void {
  const known = error instanceof CofferError ? error : undefined
  const message = known?.message ?? `a fault of coffer's own: ${String(error)}`
  const hint =
    known?.hint ??
    (known === undefined ? "please report it; COFFER_DEBUG=1 shows where it happened" : undefined)
  io.warn(`coffer: ${message}`)
  if (hint !== undefined) io.warn(`  hint: ${hint}`)
  if (io.env["COFFER_DEBUG"] === "1" && error instanceof Error) io.warn(error.stack ?? "")
  if (json) {
    io.print(
      JSON.stringify({
        error: {
          code: known?.code ?? "fault",
          reason: known?.reason,
          message,
          hint,
          ...known?.facts,
        },
      }),
    )
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2), processIo())
