import type { Command } from "commander"

/** All commands below `command`, parents before children. */
export function descendants(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)])
}
