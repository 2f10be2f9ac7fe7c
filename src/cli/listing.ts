import { type ByteString, displayName } from "../bytes/index.ts"
import { sortedChildren, type TreeNode, walk } from "../tree/index.ts"

export interface ListedEntry {
  readonly path: string
  readonly kind: TreeNode["kind"]
  /** Octal, four digits. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly size?: number
  readonly device?: string
  readonly target?: string
  /** Seconds since 1970, with nine decimals. */
  readonly mtime: string
  readonly xattrs: readonly string[]
}

export interface ListedLine {
  readonly entry: ListedEntry
  /** As `ls -l` prints it. */
  readonly text: string
}

/** A directory's children, or the node alone when it is none; `recursive`: everything below, as paths. */
export function* listing(
  node: TreeNode,
  path: ByteString,
  recursive: boolean,
): Generator<ListedLine> {
  const base = displayName(path.replace(/\/+$/, "") as ByteString)
  if (node.kind !== "directory") {
    yield lineOf(base, node)
  } else if (recursive) {
    for (const { path: below, node: child } of walk(node))
      if (below !== "/") yield lineOf(`${base}${displayName(below)}`, child)
  } else {
    for (const [name, child] of sortedChildren(node)) yield lineOf(displayName(name), child)
  }
}

function lineOf(path: string, node: TreeNode): ListedLine {
  const { mode, uid, gid, mtime, xattrs } = node.meta
  const entry: ListedEntry = {
    path,
    kind: node.kind,
    mode: mode.toString(8).padStart(4, "0"),
    uid,
    gid,
    ...specifics(node),
    mtime: `${mtime.seconds}.${String(mtime.nanoseconds).padStart(9, "0")}`,
    xattrs: xattrs.map(({ name }) => displayName(name)),
  }
  const size = entry.device ?? String(entry.size ?? 0)
  const arrow = entry.target === undefined ? "" : ` -> ${entry.target}`
  const flags = `${modeText(node)}${xattrs.length > 0 ? "+" : " "}`
  const owner = `${String(uid).padStart(5)} ${String(gid).padStart(5)}`
  const text = `${flags} ${owner} ${size.padStart(10)} ${timeText(mtime.seconds)} ${path}${arrow}`
  return { entry, text }
}

function specifics(node: TreeNode): Pick<ListedEntry, "size" | "device" | "target"> {
  switch (node.kind) {
    case "file":
      return { size: node.content.size }
    case "symlink":
      return { target: displayName(node.target) }
    case "block":
    case "character":
      return { device: `${node.major}, ${node.minor}` }
    case "directory":
    case "fifo":
    case "socket":
      return {}
  }
}

const letters = {
  file: "-",
  directory: "d",
  symlink: "l",
  block: "b",
  character: "c",
  fifo: "p",
  socket: "s",
} as const satisfies Record<TreeNode["kind"], string>

function modeText({ kind, meta: { mode } }: TreeNode): string {
  const bits = Array.from("rwxrwxrwx", (letter, i) => ((mode >> (8 - i)) & 1 ? letter : "-"))
  const special = (bit: number, at: number, letter: string): void => {
    if ((mode & bit) !== 0) bits[at] = bits[at] === "x" ? letter : letter.toUpperCase()
  }
  special(0o4000, 2, "s")
  special(0o2000, 5, "s")
  special(0o1000, 8, "t")
  return `${letters[kind]}${bits.join("")}`
}

// Date holds 8.64e12 seconds either way.
function timeText(seconds: number): string {
  if (Math.abs(seconds) > 8.64e12) return `@${seconds}`.padStart(19)
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")
}
