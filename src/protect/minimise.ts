import { type ByteString, utf8OfByteString } from "../bytes/index.ts"
import type { ManifestDraft } from "../manifest/index.ts"
import type { Trace } from "../shield/index.ts"
import { type DirectoryNode, type TreeNode, walk } from "../tree/index.ts"

/** What a service used of its measured files, and what of them goes into the binary. */
export interface Coverage {
  /** All measured files of the image, with symlinks and special files. */
  readonly all: FileSum
  /** Content was read. */
  readonly read: FileSum
  /** Found by name only, as by `stat`. */
  readonly looked: FileSum
  /** Not used, but named by `keep` in coffer.yaml, by the manifest, or below a volume's seed. */
  readonly declared: FileSum
  readonly leftOut: FileSum
  /** Directories with nothing kept below them but of the same parent's, largest first. */
  readonly leftOutBelow: readonly (FileSum & { readonly path: ByteString })[]
  /** Listed directories of which something is left out: the service sees fewer names there. */
  readonly shorterListings: readonly ByteString[]
  readonly missed: readonly ByteString[]
}

export interface FileSum {
  readonly count: number
  readonly size: number
}

export interface MinimiseInput {
  readonly trace: Trace
  /** `keep` of coffer.yaml. */
  readonly keep: readonly string[]
  readonly manifest: Pick<ManifestDraft, "regions" | "binary" | "cwd" | "exec">
}

type Class = "read" | "looked" | "declared" | "leftOut"

/** The tree with only what the trace used and what is declared, and what that comes to. */
export function minimise(
  root: DirectoryNode,
  input: MinimiseInput,
): { readonly root: DirectoryNode; readonly coverage: Coverage } {
  const declared = declaredIn(input)
  const classes = new Map<ByteString, Class>()
  for (const { path } of walk(root)) classes.set(path, classOf(path, input.trace, declared))
  const kept = new Set<ByteString>(["/" as ByteString])
  for (const [path, found] of classes) if (found !== "leftOut") addWithParents(kept, path)
  // What is added on the way is visited too: a symlink may lead to another.
  for (const path of kept)
    for (const place of behindSymlink(root, path)) addWithParents(kept, place)
  return {
    root: filtered(root, "", kept),
    coverage: coverageOf(root, { ...input, classes, kept }),
  }
}

function classOf(path: ByteString, trace: Trace, declared: (path: ByteString) => boolean): Class {
  if (trace.read.has(path)) return "read"
  if (trace.looked.has(path) || trace.listed.has(path)) return "looked"
  return declared(path) ? "declared" : "leftOut"
}

function addWithParents(kept: Set<ByteString>, path: ByteString): void {
  for (
    let at = path;
    !kept.has(at) && at !== "";
    at = at.slice(0, at.lastIndexOf("/")) as ByteString
  )
    kept.add(at)
}

/** By `keep`, as what the manifest starts, or because a volume begins with it. */
function declaredIn({ keep, manifest }: MinimiseInput): (path: ByteString) => boolean {
  const { regions, binary, cwd, exec } = manifest
  const programs = [binary, cwd, ...exec.map(([program = ""]) => program)]
  const exact = new Set(programs.map((path) => utf8OfByteString(path)))
  const seeds = regions.flatMap((region) =>
    region.kind === "volume" && region.seed ? [region.path] : [],
  )
  const patterns = [...keep.map(patternOf), ...seeds.map((path) => below(escaped(path)))]
  return (path) => exact.has(path) || patterns.some((pattern) => pattern.test(path))
}

/** `*` and `?` within a name, `**` across names; a directory means all that is in it. */
function patternOf(glob: string): RegExp {
  const parts = utf8OfByteString(glob).split(/(\*\*|\*|\?)/)
  const words: Readonly<Record<string, string>> = { "**": ".*", "*": "[^/]*", "?": "[^/]" }
  return below(parts.map((part) => words[part] ?? escaped(part)).join(""))
}

function below(source: string): RegExp {
  return new RegExp(`^${source.replace(/\/+$/, "")}(/.*)?$`, "s")
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")
}

const maxHops = 40

/** The places on the way from a symlink to what it means: a declared name is of no use without them. */
function behindSymlink(root: DirectoryNode, path: ByteString): ByteString[] {
  if (nodeAt(root, path)?.kind !== "symlink") return []
  const places: ByteString[] = []
  const pending = path.split("/").slice(1).toReversed()
  let way: string[] = []
  let hopCount = 0
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === "" || name === ".") continue
    if (name === "..") {
      way.pop()
      continue
    }
    const at = `/${[...way, name].join("/")}` as ByteString
    const node = nodeAt(root, at)
    if (node === undefined) break
    places.push(at)
    if (node.kind !== "symlink") {
      way.push(name)
      continue
    }
    hopCount += 1
    if (hopCount > maxHops) break
    if (node.target.startsWith("/")) way = []
    pending.push(...node.target.split("/").toReversed())
  }
  return places
}

function nodeAt(root: DirectoryNode, path: ByteString): TreeNode | undefined {
  let node: TreeNode | undefined = root
  for (const name of path.split("/").slice(1) as ByteString[])
    node = node?.kind === "directory" ? node.children.get(name) : undefined
  return node
}

function filtered(
  directory: DirectoryNode,
  prefix: string,
  kept: ReadonlySet<ByteString>,
): DirectoryNode {
  const children = new Map<ByteString, TreeNode>()
  for (const [name, child] of directory.children) {
    const path = `${prefix}/${name}`
    if (!kept.has(path as ByteString)) continue
    children.set(name, child.kind === "directory" ? filtered(child, path, kept) : child)
  }
  return { ...directory, children }
}

interface Counted extends MinimiseInput {
  readonly classes: ReadonlyMap<ByteString, Class>
  readonly kept: ReadonlySet<ByteString>
}

function coverageOf(root: DirectoryNode, input: Counted): Coverage {
  const { classes, kept, trace, manifest } = input
  const sums = { read: zero(), looked: zero(), declared: zero(), leftOut: zero(), all: zero() }
  const leftOut = new Map<ByteString, FileSum>()
  const ownStores = manifest.regions.flatMap(({ kind, path }) =>
    kind === "image" ? [below(escaped(utf8OfByteString(path)))] : [],
  )
  const seen = new Set<TreeNode>()
  for (const { path, node } of walk(root)) {
    if (node.kind === "directory" || seen.has(node) || ownStores.some((store) => store.test(path)))
      continue
    seen.add(node)
    const size = node.kind === "file" ? node.content.size : 0
    const found = classes.get(path) ?? "leftOut"
    const shown = found === "leftOut" && kept.has(path) ? "declared" : found
    add(sums.all, size)
    add(sums[shown], size)
    if (shown === "leftOut") addTo(leftOut, topLeftOut(path, kept), size)
  }
  return {
    ...sums,
    leftOutBelow: [...leftOut]
      .map(([path, sum]) => ({ path, ...sum }))
      .toSorted((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1)),
    shorterListings: [...trace.listed].filter((path) => isShorter(root, path, kept)).toSorted(),
    missed: [...trace.missed].toSorted(),
  }
}

function zero(): { count: number; size: number } {
  return { count: 0, size: 0 }
}

function add(sum: { count: number; size: number }, size: number): void {
  sum.count += 1
  sum.size += size
}

function addTo(sums: Map<ByteString, FileSum>, path: ByteString, size: number): void {
  const { count, size: before } = sums.get(path) ?? zero()
  sums.set(path, { count: count + 1, size: before + size })
}

/** The uppermost directory of which nothing is kept, else the directory that the file is in. */
function topLeftOut(path: ByteString, kept: ReadonlySet<ByteString>): ByteString {
  const names = path.split("/").slice(1, -1)
  let at = ""
  for (const name of names) {
    at = `${at}/${name}`
    if (!kept.has(at as ByteString)) break
  }
  return (at === "" ? "/" : at) as ByteString
}

function isShorter(root: DirectoryNode, path: ByteString, kept: ReadonlySet<ByteString>): boolean {
  const node = path === "/" ? root : nodeAt(root, path)
  if (node?.kind !== "directory") return false
  const prefix = path === "/" ? "" : path
  return [...node.children.keys()].some((name) => !kept.has(`${prefix}/${name}` as ByteString))
}
