/**
 * The command line: the only place (with `src/runtime/program.ts`) that prints, reads the environment or exits.
 *
 * Contract: DESIGN.md section 11. One file a command in `commands/`; `program.ts` lists them. stdout carries the result
 * (with `--json` exactly one JSON document), stderr everything that a person reads.
 */
export { main } from "./main.ts"
