import { Command } from "commander"
import { listEnclaves } from "../../runtime/index.ts"
import type { Io } from "../io.ts"

/** `coffer ps`: the enclaves of this machine. */
export function psCommand(io: Io): Command {
  return new Command("ps")
    .description("list the enclaves that run on this machine, of all engines")
    .option("--json", "print one JSON document")
    .action((options: { readonly json?: true }) => {
      const enclaves = listEnclaves()
      if (options.json === true) {
        io.print(JSON.stringify(enclaves))
        return
      }
      for (const { id, name, mrEnclave, pid, volumes } of enclaves) {
        const more = volumes.length === 0 ? "" : `  volumes ${volumes.join(", ")}`
        io.print(`${id.slice(0, 24).padEnd(24)}  ${name}  ${mrEnclave}  shield ${pid}${more}`)
      }
      if (enclaves.length === 0) io.warn("no enclave runs here")
    })
}
