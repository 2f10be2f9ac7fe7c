import { CofferError } from "../errors.ts"
import type { Io } from "./io.ts"

const ours = new CofferError("fault", "a fault of coffer's own", {
  hint: "please report it; COFFER_DEBUG=1 shows where it happened",
})

/** Says on stderr what went wrong and what to do; with `json` also as one document on stdout. */
export function report(error: unknown, io: Io, json: boolean): void {
  const known = error instanceof CofferError ? error : ours
  const message = known === ours ? `${ours.message}: ${String(error)}` : known.message
  io.warn(`coffer: ${message}`)
  if (known.hint !== undefined) io.warn(`  hint: ${known.hint}`)
  if (io.env["COFFER_DEBUG"] === "1" && error instanceof Error) io.warn(error.stack ?? "")
  const { code, reason, hint, facts } = known
  if (json) io.print(JSON.stringify({ error: { code, reason, message, hint, ...facts } }))
}
