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

const ours = new CofferError("fault", "a fault of coffer's own", {
  hint: "please report it; COFFER_DEBUG=1 shows where it happened",
})

function report(error: unknown, io: Io, json: boolean): void {
  const known = error instanceof CofferError ? error : ours
  const message = known === ours ? `${ours.message}: ${String(error)}` : known.message
  io.warn(`coffer: ${message}`)
  if (known.hint !== undefined) io.warn(`  hint: ${known.hint}`)
  if (io.env["COFFER_DEBUG"] === "1" && error instanceof Error) io.warn(error.stack ?? "")
  const { code, reason, hint, facts } = known
  if (json) io.print(JSON.stringify({ error: { code, reason, message, hint, ...facts } }))
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2), processIo())
