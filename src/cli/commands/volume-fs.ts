import { writeSync } from "node:fs"
import { resolve } from "node:path"
import { Command, Option } from "commander"
import { type ByteString, displayName, utf8OfByteString } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { mountAt, openShield } from "../../shield/index.ts"
import { writeTar } from "../../tar/index.ts"
import { extractTree, readPieces, sortedChildren, type TreeNode } from "../../tree/index.ts"
import {
  exportTree,
  importTree,
  openVolume,
  type VolumeFileSystem,
  type VolumeRequest,
} from "../../volume/index.ts"
import { incidentLine, serveForeground } from "../foreground.ts"
import type { Io } from "../io.ts"
import { progressBar } from "../progress.ts"
import { withTreeSource } from "../tree-source.ts"
import { freshnessOf, readKeyFile, type VolumeSource } from "../volume-source.ts"
import { writeWhole } from "../whole-file.ts"

interface ReadOptions extends VolumeSource {
  readonly json?: true
  /** `--no-key` */
  readonly key?: false
}

/** The verbs of `coffer volume` that look into its filesystem. */
export function volumeFileCommands(io: Io): Command[] {
  return [
    mountCommand(io),
    lsCommand(io),
    catCommand(io),
    importCommand(io),
    exportCommand(io),
    compactCommand(io),
  ]
}

function command(name: string): Command {
  return new Command(name)
    .argument("<dir>", "the volume's directory")
    .option("--key-file <file>", "volume key: 32 raw bytes or 64 hex digits")
    .option("--pin <file>", "file that keeps the volume's newest state, on a disk that you trust")
}

function requestOf(directory: string, options: ReadOptions, readOnly: boolean): VolumeRequest {
  const { keyFile, ...keyless } = options
  const source = options.key === false || keyFile === undefined ? keyless : { ...keyless, keyFile }
  return requestOfSource(directory, source, readOnly)
}

function requestOfSource(
  directory: string,
  source: VolumeSource,
  readOnly: boolean,
): VolumeRequest {
  if (!readOnly && source.keyFile === undefined)
    throw new CofferError("usage", "wanted the volume's key, found no --key-file")
  return {
    directory: resolve(directory),
    key: source.keyFile === undefined ? undefined : readKeyFile(source.keyFile),
    readOnly,
    freshness: freshnessOf(source),
    root: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mode: 0o755 },
    ...(source.pin === undefined ? {} : { pin: resolve(source.pin) }),
  }
}

// What went wrong before says more.
function closeQuietly(fs: VolumeFileSystem): void {
  try {
    fs.destroy()
  } catch {}
}

async function withVolume<T>(
  io: Io,
  request: VolumeRequest,
  use: (fs: VolumeFileSystem) => T | Promise<T>,
): Promise<T> {
  const fs = openVolume(request, (error) => {
    if (error instanceof CofferError) io.warn(`coffer: ${error.message}`)
  })
  if (request.key === undefined && request.pin === undefined)
    io.warn("no key and no pin: nothing of this is verified")
  let result: T
  try {
    result = await use(fs)
  } catch (error) {
    closeQuietly(fs)
    throw error
  }
  fs.destroy()
  return result
}

function mountCommand(io: Io): Command {
  return command("mount")
    .description("mount a volume, in the foreground")
    .argument("<mountpoint>", "an empty directory")
    .addOption(
      new Option("--pin-mode <mode>", "when the pin moves: with each fsync, or within a second")
        .choices(["strict", "periodic"])
        .default("strict"),
    )
    .option("--read-only", "serve the pinned state, and change nothing")
    .addHelpText(
      "after",
      "\nPrints one line when it is ready; ends, and commits, with SIGINT, SIGTERM or umount.\n\nExample:\n  coffer volume mount data /mnt/data --key-file data.key --pin ~/data.pin",
    )
    .action(
      async (
        directory: string,
        mountpoint: string,
        options: VolumeSource & { readOnly?: true },
      ) => {
        const target = resolve(mountpoint)
        const request = requestOf(directory, options, options.readOnly === true)
        if (options.pin === undefined)
          io.warn("no --pin: an older state of the volume would not be noticed")
        const served = await openShield({ kind: "volume", ...request }, (incident) =>
          io.warn(incidentLine(incident)),
        )
        await mountAt(served, target, { source: `coffer:${request.directory}` })
        await serveForeground(served, target, io)
      },
    )
}

/** A path of the volume, as the user types it. */
function pathOf(path: string): ByteString {
  return utf8OfByteString(path)
}

function parentAndName(path: ByteString): [parent: ByteString, name: ByteString] {
  const names = path.split("/").filter((name) => name !== "")
  const name = names.pop() ?? ""
  return [`/${names.join("/")}` as ByteString, name as ByteString]
}

// The node at a path: of a directory all that is below it, contents unread.
function nodeAt(fs: VolumeFileSystem, path: ByteString): TreeNode {
  const [parent, name] = parentAndName(path)
  if (name === "") return exportTree(fs, path)
  const node = exportTree(fs, parent, { depth: 1 }).children.get(name)
  if (node === undefined)
    throw new CofferError("missing", `${displayName(path)}: not in the volume`, {
      hint: "coffer volume ls shows what is there",
    })
  return node.kind === "directory" ? exportTree(fs, path, { depth: 1 }) : node
}

function lsCommand(io: Io): Command {
  return command("ls")
    .description("list a directory of a volume")
    .argument("[path]", "in the volume", "/")
    .option("--no-key", "read an authenticated volume without its key: nothing is verified")
    .option("--json", "print one JSON document")
    .action(async (directory: string, path: string, options: ReadOptions) => {
      await withVolume(io, requestOf(directory, options, true), (fs) => {
        const node = nodeAt(fs, pathOf(path))
        const entries: [ByteString, TreeNode][] =
          node.kind === "directory"
            ? sortedChildren(node)
            : [[parentAndName(pathOf(path))[1], node]]
        const rows = entries.map(([name, child]) => rowOf(name, child))
        if (options.json === true) io.print(JSON.stringify(rows))
        else for (const row of rows) io.print(lineOf(row))
      })
    })
}

function rowOf(name: ByteString, node: TreeNode) {
  const { mode, uid, gid, mtime } = node.meta
  return {
    name: displayName(name),
    kind: node.kind,
    mode: mode.toString(8).padStart(4, "0"),
    uid,
    gid,
    size: node.kind === "file" ? node.content.size : 0,
    mtime: new Date(mtime.seconds * 1000).toISOString(),
    ...(node.kind === "symlink" ? { target: displayName(node.target) } : {}),
  }
}

function lineOf(row: ReturnType<typeof rowOf>): string {
  const arrow = row.target === undefined ? "" : ` -> ${row.target}`
  const owner = `${row.uid}:${row.gid}`.padEnd(9)
  return `${row.kind.padEnd(9)} ${row.mode} ${owner} ${String(row.size).padStart(12)} ${row.mtime} ${row.name}${arrow}`
}

function catCommand(io: Io): Command {
  return command("cat")
    .description("write a file of a volume to stdout")
    .argument("<path>", "in the volume")
    .option("--no-key", "read an authenticated volume without its key: nothing is verified")
    .action(async (directory: string, path: string, options: ReadOptions) => {
      await withVolume(io, requestOf(directory, options, true), (fs) => {
        const node = nodeAt(fs, pathOf(path))
        if (node.kind !== "file")
          throw new CofferError("usage", `${path}: wanted a file, found a ${node.kind}`)
        const whole = { offset: 0, size: node.content.size }
        for (const { bytes } of readPieces(node.content, whole)) io.write(bytes)
      })
    })
}

function importCommand(io: Io): Command {
  return command("import")
    .description("copy a directory or a tar into a volume")
    .argument("<source>", "directory, tar (plain, gzip, zstd) or binary filesystem")
    .option("--into <path>", "directory of the volume", "/")
    .addHelpText("after", "\nExample:\n  coffer volume import data backup.tar --key-file data.key")
    .action(async (directory: string, from: string, options: VolumeSource & { into: string }) => {
      const bar = progressBar(io, "import")
      try {
        await withVolume(io, requestOf(directory, options, false), (fs) =>
          withTreeSource(from, bar.update, (root) =>
            importTree(fs, root, pathOf(options.into), bar.update),
          ),
        )
      } finally {
        bar.end()
      }
    })
}

interface ExportFlags extends ReadOptions {
  readonly from: string
  readonly salvage?: true
  readonly owners: "keep" | "mine"
}

function exportCommand(io: Io): Command {
  return command("export")
    .description("copy a volume to a new directory or a tar")
    .argument("<target>", "new or empty directory, FILE.tar, or - for a tar on stdout")
    .option("--from <path>", "directory of the volume", "/")
    .option("--no-key", "read an authenticated volume without its key: nothing is verified")
    .option("--salvage", "go on after damage: lists it, and writes zeros in its place")
    .addOption(
      new Option("--owners <which>", "of a directory's files: as they are, or the caller's")
        .choices(["keep", "mine"])
        .default(process.getuid?.() === 0 ? "keep" : "mine"),
    )
    .action(async (directory: string, target: string, options: ExportFlags) => {
      const damaged = new Set<string>()
      const salvage = (path: ByteString, error: CofferError) => {
        const line = `${displayName(path)}: ${error.message}`
        if (!damaged.has(line)) io.warn(`damaged: ${line}`)
        damaged.add(line)
      }
      const bar = progressBar(io, "export")
      try {
        await withVolume(io, requestOf(directory, options, true), (fs) => {
          const root = exportTree(
            fs,
            pathOf(options.from),
            options.salvage === true ? { salvage } : {},
          )
          if (target === "-") writeTar(root, (bytes) => io.write(bytes), bar.update)
          else if (target.endsWith(".tar")) writeTarFile(target, root, bar.update)
          else extractTree(root, target, { owners: options.owners, onProgress: bar.update })
        })
      } finally {
        bar.end()
      }
      if (damaged.size > 0) io.exitCode = 3
    })
}

function writeTarFile(
  path: string,
  root: Parameters<typeof writeTar>[0],
  onProgress: Parameters<typeof writeTar>[2],
): void {
  writeWhole(path, { mode: 0o600, fresh: true }, (fd) => {
    writeTar(
      root,
      (bytes) => {
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
      },
      onProgress,
    )
  })
}

function compactCommand(io: Io): Command {
  return command("compact")
    .description("give back all space that nothing uses; rewrites what an older key protects")
    .option("--json", "print one JSON document")
    .action(async (directory: string, options: ReadOptions) => {
      const bar = progressBar(io, "compact")
      let before: number | undefined
      let after = 0
      let live = 0
      try {
        await withVolume(io, requestOf(directory, options, false), (fs) =>
          fs.compact((size, bytes) => {
            before ??= size
            after = size
            live = bytes
            bar.update(Math.max(0, before - size), Math.max(0, before - bytes))
          }),
        )
      } finally {
        bar.end()
      }
      const facts = { before: before ?? 0, after, live }
      if (options.json === true) io.print(JSON.stringify(facts))
      else io.print(`${directory}: ${facts.before} bytes before, ${after} after, ${live} live`)
    })
}
