import { isOrdinaryUser } from "./directories.ts"
import { systemTool } from "./system-tool.ts"

export function findRunc(): string {
  return systemTool("runc")
}

/** The command that kills a container. `runc`: the program and its global options. */
export function killCommand(runc: readonly string[], id: string): string[] {
  // An ordinary user's has no control group in which `--all` would find it. The first process takes its PID namespace with it.
  const all = isOrdinaryUser() ? [] : ["--all"]
  return [...runc, "kill", ...all, id, "KILL"]
}
