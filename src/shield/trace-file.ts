import { type ByteString, displayName, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"

/** What a service did with the files of its binary filesystem. Absolute paths. */
export interface Trace {
  /** Content was read: opened, executed or mapped. */
  readonly read: ReadonlySet<ByteString>
  /** Found by name; files that were read are here too. */
  readonly looked: ReadonlySet<ByteString>
  /** Directories whose names were listed. */
  readonly listed: ReadonlySet<ByteString>
  /** Looked for, and not there. */
  readonly missed: ReadonlySet<ByteString>
}

const head = "coffer-trace 1"
const kinds = ["read", "looked", "listed", "missed"] as const

/** One line a path, sorted: for people, for git, and for another `protect --minimise`. */
export function formatTrace(trace: Trace): string {
  const lines = kinds.flatMap((kind) =>
    [...trace[kind]].toSorted().map((path) => `${kind} ${displayName(path)}`),
  )
  return `${[head, ...lines].join("\n")}\n`
}

/** `file` is for messages. */
export function parseTrace(text: string, file: string): Trace {
  const [first, ...lines] = text.split("\n")
  if (first !== head)
    throw new CofferError("config", `${file}: wanted a trace ('${head}'), found something else`)
  const sets: Record<(typeof kinds)[number], Set<ByteString>> = {
    read: new Set(),
    looked: new Set(),
    listed: new Set(),
    missed: new Set(),
  }
  for (const [i, line] of lines.entries()) {
    if (line === "") continue
    const space = line.indexOf(" ")
    const kind = kinds.find((known) => known === line.slice(0, space))
    const path = line.slice(space + 1)
    if (kind === undefined || !path.startsWith("/")) {
      const wanted = `one of ${kinds.join(", ")} and an absolute path`
      throw new CofferError("config", `${file}:${i + 2}: wanted ${wanted}, found another line`)
    }
    sets[kind].add(unescaped(path))
  }
  return sets
}

/** The way back from `displayName`. */
function unescaped(text: string): ByteString {
  return utf8OfByteString(text).replace(/\\(?:\\|x([0-9a-f]{2}))/g, (_, hex?: string) =>
    hex === undefined ? "\\" : String.fromCharCode(Number.parseInt(hex, 16)),
  ) as ByteString
}

export function mergeTraces(a: Trace, b: Trace): Trace {
  return {
    read: a.read.union(b.read),
    looked: a.looked.union(b.looked),
    listed: a.listed.union(b.listed),
    missed: a.missed.union(b.missed),
  }
}
