import { type ByteString, utf8OfByteString } from "../../src/bytes/index.ts"
import {
  type Content,
  contentOfBytes,
  type DirectoryNode,
  type Metadata,
  type TreeNode,
} from "../../src/tree/index.ts"

/** Metadata with something in every field. */
export function meta(change: Partial<Metadata> = {}): Metadata {
  const mtime = { seconds: 1_700_000_000, nanoseconds: 123_456_789 }
  return { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: [], ...change }
}

export function bytesOfSeed(size: number, seed: number): Uint8Array {
  const out = new Uint8Array(size)
  let state = seed | 1
  for (let i = 0; i < size; i += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    out[i] = state >>> 24
  }
  return out
}

export function file(content: Uint8Array | Content, change: Partial<Metadata> = {}): TreeNode {
  return {
    kind: "file",
    meta: meta(change),
    content: content instanceof Uint8Array ? contentOfBytes(content) : content,
  }
}

export function directory(
  children: Iterable<readonly [string, TreeNode]>,
  change: Partial<Metadata> = {},
): DirectoryNode {
  const byName = new Map([...children].map(([name, node]) => [utf8OfByteString(name), node]))
  return { kind: "directory", meta: meta({ mode: 0o755, ...change }), children: byName }
}

export function symlink(target: string, change: Partial<Metadata> = {}): TreeNode {
  return {
    kind: "symlink",
    meta: meta({ mode: 0o777, ...change }),
    target: utf8OfByteString(target),
  }
}

export function xattr(name: string, value: Uint8Array): { name: ByteString; value: Uint8Array } {
  return { name: utf8OfByteString(name), value }
}

/** `security.capability` with CAP_NET_BIND_SERVICE, as setcap writes it. */
export const capability = new Uint8Array(20)
capability.set([1, 0, 0, 2, 0, 4], 0)

/** user::rwx, user:1000:r--, group::r-x, mask::r-x, other::---. */
export const acl = new Uint8Array(
  Buffer.from(
    "0200000001000700ffffffff02000400e803000004000500ffffffff10000500ffffffff20000000ffffffff",
    "hex",
  ),
)

/** Data where `at` says, zeros elsewhere; its holes are known (`ranges`) or not. */
export function sparse(
  size: number,
  at: readonly (readonly [number, Uint8Array])[],
  known: boolean,
): Content {
  return {
    size,
    ranges: known
      ? at.map(([offset, bytes]) => ({ offset, size: bytes.length }))
      : [{ offset: 0, size }],
    read(target, position) {
      target.fill(0)
      for (const [offset, bytes] of at) {
        const from = Math.max(offset, position)
        const to = Math.min(offset + bytes.length, position + target.length)
        if (from < to) target.set(bytes.subarray(from - offset, to - offset), from - position)
      }
    },
  }
}

function manyFiles(): [string, TreeNode][] {
  return Array.from({ length: 300 }, (_, i) => [
    `entry-with-a-long-name-${i}`,
    file(bytesOfSeed(i, i)),
  ])
}

/** Names that sort before the dots, and that are no text. */
function oddNames(): DirectoryNode {
  const odd = directory([["!before the dots", file(bytesOfSeed(10, 1))]])
  const rawName = Buffer.from([0xff, 0xfe, 0x80, 0x0a]).toString("latin1") as ByteString
  return { ...odd, children: new Map([...odd.children, [rawName, file(bytesOfSeed(20, 2))]]) }
}

function devices(): DirectoryNode {
  return directory([
    ["null", { kind: "character", meta: meta({ mode: 0o666 }), major: 1, minor: 3 }],
    ["large", { kind: "block", meta: meta({ mode: 0o660 }), major: 259, minor: 70_000 }],
    ["fifo", { kind: "fifo", meta: meta({ mode: 0o600 }) }],
    ["socket", { kind: "socket", meta: meta({ mode: 0o755 }) }],
  ])
}

function links(): DirectoryNode {
  const shared = file(bytesOfSeed(5000, 7), { uid: 1000, gid: 1001, mode: 0o4755 })
  const bin = directory([
    ["tool", shared],
    ["tool2", shared],
    ["n".repeat(255), shared],
  ])
  return directory(
    [
      ["bin", bin],
      ["long", symlink("t".repeat(4095))],
      ["middle", symlink("m".repeat(1000), { uid: 4_000_000_000 })],
    ],
    { xattrs: [xattr("system.posix_acl_default", acl)] },
  )
}

function contents(knownHoles: boolean): [string, TreeNode][] {
  const island = bytesOfSeed(3000, 5)
  const islands = [
    [131_142, island],
    [900_000, island],
  ] as const
  return [
    ["empty-file", file(new Uint8Array(0))],
    ["one-block", file(bytesOfSeed(4096, 3))],
    ["tail-4032", file(bytesOfSeed(4032, 3))],
    ["tail-4033", file(bytesOfSeed(4033, 3))],
    ["large", file(bytesOfSeed(300_001, 4))],
    ["sparse", file(sparse(1_000_000, islands, knownHoles))],
    ["only-hole", file(sparse(200_000, [], knownHoles))],
    ["zeros-small", file(new Uint8Array(20_000))],
  ]
}

/** A small tree with everything that the format must keep, and with every layout that the writer chooses. */
export function sampleTree(knownHoles = true): DirectoryNode {
  const xattrs = [
    xattr("security.capability", capability),
    xattr("system.posix_acl_access", acl),
    xattr("trusted.binary", bytesOfSeed(256, 1)),
    xattr("user.empty", new Uint8Array(0)),
    xattr("user.large", bytesOfSeed(2500, 2)),
  ]
  const old = { seconds: -86_401, nanoseconds: 5 }
  return directory(
    [
      ["bin", symlink("usr/bin")],
      ["empty", directory([])],
      ["many", directory(manyFiles(), { mode: 0o1777 })],
      ["odd", oddNames()],
      ["dev", devices()],
      ["usr", links()],
      ...contents(knownHoles),
      ["before-1970", file(bytesOfSeed(1, 3), { mtime: old })],
      // The mode that the ACL says: a filesystem that knows ACLs keeps the two equal.
      ["attributes", file(bytesOfSeed(100, 9), { mode: 0o750, xattrs })],
    ],
    { mode: 0o750, gid: 5 },
  )
}
