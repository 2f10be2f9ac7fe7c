import type { ByteString } from "../../src/bytes/index.ts"
import {
  type Content,
  contentOfBytes,
  type DirectoryNode,
  emptyContent,
  type LeafNode,
  type Metadata,
  TreeBuilder,
  type Xattr,
} from "../../src/tree/index.ts"

export function meta(changes: Partial<Metadata> = {}): Metadata {
  return {
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
    xattrs: [],
    ...changes,
  }
}

/** Zeros of that size, with data only at the given places. */
export function sparseContent(
  size: number,
  pieces: readonly (readonly [number, Uint8Array])[],
): Content {
  return {
    size,
    ranges: pieces.map(([offset, bytes]) => ({ offset, size: bytes.length })),
    read(target, position) {
      target.fill(0)
      for (const [offset, bytes] of pieces) {
        const from = Math.max(position, offset)
        const to = Math.min(position + target.length, offset + bytes.length)
        if (from < to) target.set(bytes.subarray(from - offset, to - offset), from - position)
      }
    },
  }
}

const capability = Buffer.from("0100000200040000000000000000000000000000", "hex")
// user::rw-, user:1000:rwx, group::r--, mask::rwx, other::r--
const accessAcl = Buffer.from(
  "0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff",
  "hex",
)
const defaultAcl = Buffer.from(
  "0200000001000700ffffffff04000500ffffffff08000500d007000010000500ffffffff20000000ffffffff",
  "hex",
)

export interface SampleOptions {
  /** A tar has no sockets, unless our own writer made it. */
  readonly sockets: boolean
}

type Place = readonly [path: string, node: LeafNode]

const file = { kind: "file", meta: meta(), content: emptyContent } as const
const symlink = { kind: "symlink", meta: meta({ mode: 0o777 }), target: name("nowhere") } as const

function name(text: string): ByteString {
  return text as ByteString
}

function xattr(attribute: string, value: Uint8Array): Xattr {
  return { name: name(attribute), value }
}

function links(): Place[] {
  const linked = { ...file, content: contentOfBytes(Buffer.from("one")) }
  const linkedSymlink = { ...symlink }
  return [
    ["/linked-a", linked],
    ["/dir/linked-b", linked],
    ["/symlink-a", linkedSymlink],
    ["/symlink-b", linkedSymlink],
    ["/symlink-up", { ...symlink, target: name("../../etc/passwd") }],
    ["/symlink-long", { ...symlink, target: name("t/".repeat(2000)) }],
    ["/symlink-bytes", { ...symlink, target: name("\xff \n") }],
  ]
}

function names(): Place[] {
  return [
    [`/dir/${"\xe4".repeat(255)}`, { ...file }],
    ["/new\nline \x1b\\ \xff", { ...file }],
    [`/deep/${"d".repeat(200)}/${"e".repeat(200)}/f`, { ...file }],
  ]
}

function contents(): Place[] {
  const data = Buffer.alloc(4096, 0xab)
  const end = (1 << 20) - 4096
  const middle = sparseContent(1 << 20, [
    [8192, data],
    [65536, data],
  ])
  return [
    ["/sparse", { ...file, content: middle }],
    ["/sparse-end", { ...file, content: sparseContent(1 << 20, [[end, data]]) }],
    ["/hole", { ...file, content: sparseContent(123_456, []) }],
    ["/dir/inherits-no-acl", { ...file, content: contentOfBytes(Buffer.from("x")) }],
  ]
}

function metadata(): Place[] {
  const ping = [
    xattr("security.capability", capability),
    xattr("user.empty", new Uint8Array(0)),
    xattr("user.equals=and%sign", Buffer.from("\n\0\xff=", "latin1")),
  ]
  const acl = [xattr("system.posix_acl_access", accessAcl)]
  const old = { seconds: -5, nanoseconds: 500_000_000 }
  const content = contentOfBytes(Buffer.alloc(70_000, "ping"))
  return [
    ["/dir/empty", { ...file, meta: meta({ mode: 0 }) }],
    ["/acl", { ...file, meta: meta({ mode: 0o674, xattrs: acl }) }],
    ["/ping", { ...file, meta: meta({ mode: 0o4755, uid: 1000, xattrs: ping }), content }],
    ["/old", { ...file, meta: meta({ mtime: old }) }],
    ["/owner", { ...file, meta: meta({ uid: 4_000_000_000, gid: 3_000_000 }) }],
  ]
}

function specials(sockets: boolean): Place[] {
  const places: Place[] = [
    ["/null", { kind: "character", meta: meta({ mode: 0o666 }), major: 1, minor: 3 }],
    ["/disk", { kind: "block", meta: meta({ mode: 0o660, gid: 6 }), major: 259, minor: 70_000 }],
    ["/fifo", { kind: "fifo", meta: meta({ mode: 0o622 }) }],
  ]
  return sockets ? [...places, ["/socket", { kind: "socket", meta: meta() }]] : places
}

/** A small tree with one of everything that can go wrong. Extracting it needs root. */
export function sampleTree({ sockets }: SampleOptions): DirectoryNode {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const acl = [xattr("system.posix_acl_default", defaultAcl)]
  const old = { seconds: 7, nanoseconds: 1 }
  tree.putDirectory(name("/"), meta({ mode: 0o755, uid: 3, gid: 4 }))
  tree.putDirectory(name("/dir"), meta({ mode: 0o2750, uid: 1, gid: 2, mtime: old, xattrs: acl }))
  tree.putDirectory(name("/sticky"), meta({ mode: 0o1777 }))
  tree.putDirectory(name("/unreadable"), meta({ mode: 0 }))
  const places = [links(), names(), contents(), metadata(), specials(sockets)].flat()
  for (const [path, node] of places) tree.put(name(path), node)
  return tree.finish()
}
