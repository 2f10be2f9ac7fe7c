import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { toHex, utf8OfByteString } from "../../src/bytes/index.ts"
import type { MeasuredManifest } from "../../src/manifest/index.ts"
import { openSealed } from "../../src/runtime/index.ts"
import { sealedPath } from "../../src/seal/index.ts"
import {
  type DirectoryNode,
  type FileNode,
  TreeBuilder,
  type TreeNode,
} from "../../src/tree/index.ts"
import { layoutOf } from "./image.ts"
import { directory, file, makeSealed, testDraft } from "./sealed.ts"

const programs =
  "sh cat chown date dd echo head id ls mkdir mv rm sleep stat stty sync tail true tty wc".split(
    " ",
  )

/** Paths of a program and of the libraries that it wants. */
function filesOf(program: string): string[] {
  const { stdout: found } = spawnSync("which", [program], { encoding: "utf8" })
  const path = realpathSync(found.trim())
  const { stdout } = spawnSync("ldd", [path], { encoding: "utf8" })
  return [path, ...[...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, library = ""]) => library)]
}

type Folder = Map<string, Folder | TreeNode>

function nodeOf(folder: Folder): DirectoryNode {
  const entries = [...folder].map(([name, value]) => [
    name,
    value instanceof Map ? nodeOf(value) : value,
  ])
  return directory(Object.fromEntries(entries) as Record<string, TreeNode>)
}

function folderAt(root: Folder, path: string): Folder {
  let at = root
  for (const part of path.split("/").filter((word) => word !== "")) {
    const next = at.get(part) ?? new Map<string, Folder | TreeNode>()
    if (!(next instanceof Map)) throw new TypeError(`${path}: ${part} is a file`)
    at.set(part, next)
    at = next
  }
  return at
}

function put(root: Folder, path: string, source: string): void {
  const end = path.lastIndexOf("/")
  const folder = folderAt(root, path.slice(0, end))
  const name = path.slice(end + 1)
  if (!folder.has(name)) folder.set(name, file(readFileSync(realpathSync(source))))
}

/** A root filesystem of some megabytes: a shell and some tools, as they are on this machine. */
export function tinyRoot({ regions }: Pick<MeasuredManifest, "regions">): DirectoryNode {
  const root: Folder = new Map()
  const places = ["/etc", "/tmp", "/proc", "/sys", "/dev", ...regions.map(pathOf)]
  for (const place of places) folderAt(root, place)
  for (const program of programs) {
    const [path = "", ...libraries] = filesOf(program)
    put(root, `/bin/${program}`, path)
    for (const library of libraries) put(root, library, library)
  }
  return nodeOf(root)
}

function pathOf({ path }: { readonly path: string }): string {
  return path
}

/** A persistent encrypted region of that name, at `/NAME`. */
export function volumeRegion(volume: string) {
  const kind = "volume" as const
  return {
    kind,
    path: `/${volume}`,
    protection: "encrypted" as const,
    volume,
    exec: false,
    seed: false,
  }
}

export interface TinyService {
  /** The sealed binary. */
  readonly sealed: string
  /** The image that has it, for skopeo. */
  readonly image: string
  readonly mrEnclave: string
}

/** A service that is a shell script, in an image that a protected one looks like. Made in a second, without a distribution. */
export function makeTinyService(
  folder: string,
  script: string,
  change: Partial<MeasuredManifest> = {},
  extra: Readonly<Record<string, FileNode>> = {},
): TinyService {
  mkdirSync(folder, { recursive: true })
  const draft = {
    ...testDraft,
    name: "tiny",
    binary: "/bin/sh",
    argv: ["/bin/sh", "-c", script, "sh"],
    env: { set: { PATH: "/bin" }, allow: {} },
    ...change,
  }
  const sealed = join(folder, "service")
  const bytes = makeSealed(sealed, { draft, tree: rootWith(draft, extra), sign: false })
  const [, coffer = ""] = sealedPath.split("/")
  const tree = directory({ [coffer]: directory({ [sealedPath.split("/")[2] ?? ""]: file(bytes) }) })
  const image = layoutOf(tree, join(folder, "layout"), { Entrypoint: [sealedPath] })
  return { sealed, image, mrEnclave: mrEnclaveOf(sealed) }
}

/** The root with these nodes, by their paths. */
function rootWith(
  draft: Pick<MeasuredManifest, "regions">,
  extra: Readonly<Record<string, FileNode>>,
): DirectoryNode {
  const options = { duplicates: "replace", parentSymlinks: "resolve" } as const
  const tree = new TreeBuilder(options, tinyRoot(draft))
  for (const [path, node] of Object.entries(extra)) tree.put(utf8OfByteString(path), node)
  return tree.finish()
}

function mrEnclaveOf(sealed: string): string {
  const opened = openSealed(sealed)
  opened.source.close()
  return toHex(opened.sealed.mrEnclave)
}
