import { readFileSync } from "node:fs"

/** Kills a process and, as far as they are found, all that it has started. One that is not there is no error. */
export function killTree(pid: number): void {
  const children = childrenOf(pid)
  // The parent first, so that it starts nothing more.
  kill(pid)
  for (const child of children) killTree(child)
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim()
    return text === "" ? [] : text.split(" ").map(Number)
  } catch {
    return [] // it has ended
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // it has ended
  }
}
