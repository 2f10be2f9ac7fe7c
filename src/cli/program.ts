import { Command } from "commander"
import { attestCommand } from "./commands/attest.ts"
import { binfsCommand } from "./commands/binfs.ts"
import { casCommand } from "./commands/cas.ts"
import { completionCommand } from "./commands/completion.ts"
import { diffCommand } from "./commands/diff.ts"
import { inspectCommand } from "./commands/inspect.ts"
import { keygenCommand } from "./commands/keygen.ts"
import { measureCommand } from "./commands/measure.ts"
import { nodeCommand } from "./commands/node.ts"
import { policyCommand } from "./commands/policy.ts"
import { protectCommand } from "./commands/protect.ts"
import { psCommand } from "./commands/ps.ts"
import { runCommand } from "./commands/run.ts"
import { sealCommand } from "./commands/seal.ts"
import { setupCommand } from "./commands/setup.ts"
import { signCommand } from "./commands/sign.ts"
import { volumeCommand } from "./commands/volume.ts"
import { descendants } from "./descendants.ts"
import type { Io } from "./io.ts"

const exitCodes = `
Exit codes:
  0  done                             4  rollback or fork
  1  a fault of coffer's own          5  refused by policy or attestation
  2  usage or configuration           6  something needed is not there
  3  integrity: tampered, corrupt,    7  input/output, disk full
     or the wrong key
  coffer run passes the service's own exit status through, and uses 125 for coffer's failures.`

/** The whole command line. A new command is one file in `commands/` and one line here. */
export function createProgram(io: Io): Command {
  const program = new Command("coffer")
    .description("Protects the code and data files of containerised services.")
    .version("coffer 0.1.0")
    .addHelpText("after", exitCodes)
  program.addCommand(protectCommand(io))
  program.addCommand(runCommand(io))
  program.addCommand(psCommand(io))
  program.addCommand(setupCommand(io))
  program.addCommand(keygenCommand(io))
  program.addCommand(measureCommand(io))
  program.addCommand(signCommand(io))
  program.addCommand(sealCommand(io))
  program.addCommand(diffCommand(io))
  program.addCommand(inspectCommand(io))
  program.addCommand(binfsCommand(io))
  program.addCommand(volumeCommand(io))
  program.addCommand(casCommand(io))
  program.addCommand(policyCommand(io))
  program.addCommand(attestCommand(io))
  program.addCommand(nodeCommand(io))
  program.addCommand(completionCommand(program, io))
  for (const command of [program, ...descendants(program)]) configure(command, io)
  return program
}

function configure(command: Command, io: Io): void {
  command
    .exitOverride()
    .showHelpAfterError("(add --help for the options)")
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => io.print(text.trimEnd()),
      writeErr: (text) => io.warn(text.trimEnd().replace(/^error: /, "coffer: ")),
    })
}
