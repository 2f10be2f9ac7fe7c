import { utf8OfByteString } from "../bytes/index.ts"
import { type Machine, machineOf } from "../elf/index.ts"
import { CofferError } from "../errors.ts"
import { type DirectoryNode, lookup, type TreeNode } from "../tree/index.ts"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/**
 * The absolute path of the program that `name` means in a root filesystem: `name` itself when it has a slash, else the
 * first hit in PATH of `env`. It must lead to a regular file that somebody may execute, or it is a `config` error.
 */
export function findExecutable(
  root: DirectoryNode,
  name: string,
  env: Readonly<Record<string, string>>,
): string {
  if (name.includes("/") && !name.startsWith("/"))
    throw new CofferError(
      "config",
      `service.binary: wanted an absolute path or a name, found ${name}`,
    )
  const candidates = name.startsWith("/")
    ? [name]
    : (env["PATH"] ?? defaultPath)
        .split(":")
        .filter((folder) => folder.startsWith("/"))
        .map((folder) => `${folder.replace(/\/+$/, "")}/${name}`)
  const found = candidates.find((path) => isExecutable(lookup(root, utf8OfByteString(path))))
  if (found !== undefined) return found
  throw new CofferError(
    "config",
    `service.binary: wanted an executable file in the root filesystem, found none for ${JSON.stringify(name)}`,
    { facts: { name } },
  )
}

function isExecutable(node: TreeNode | undefined): boolean {
  return (
    node?.kind === "file" &&
    [0o100, 0o010, 0o001].some((bit) => Math.floor(node.meta.mode / bit) % 2 === 1)
  )
}

/** The architecture of an executable, from its ELF header or its interpreter's; undefined when neither says one of ours. */
export function archOf(root: DirectoryNode, path: string): Machine | undefined {
  const start = startOf(root, path)
  const script = /^#! *([^\s]+)/.exec(Buffer.from(start).toString("latin1"))?.[1]
  const elf = script === undefined ? start : startOf(root, script)
  const isElf = Buffer.from(elf.subarray(0, 6)).toString("latin1") === "\x7fELF\x02\x01"
  return isElf ? machineOf((elf[18] ?? 0) + 256 * (elf[19] ?? 0)) : undefined
}

function startOf(root: DirectoryNode, path: string): Uint8Array {
  const node = lookup(root, utf8OfByteString(path))
  if (node?.kind !== "file") return new Uint8Array(0)
  const bytes = new Uint8Array(Math.min(node.content.size, 256))
  node.content.read(bytes, 0)
  return bytes
}

/** A small text file of the tree; empty when it is not there. */
export function textFile(root: DirectoryNode, path: string): string {
  const node = lookup(root, utf8OfByteString(path))
  if (node?.kind !== "file" || node.content.size > 1 << 20) return ""
  const bytes = new Uint8Array(node.content.size)
  node.content.read(bytes, 0)
  return Buffer.from(bytes).toString("utf8")
}
