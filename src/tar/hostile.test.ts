import assert from "node:assert/strict"
import { test } from "node:test"
import { member, octal, pax, rawTar } from "../../test/support/raw-tar.ts"
import type { ByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { contentOfBytes, type DirectoryNode, dumpTree } from "../tree/index.ts"
import { treeFromTar } from "./index.ts"

function read(bytes: Uint8Array, dialect: "strict" | "layer" = "strict"): DirectoryNode {
  return treeFromTar(contentOfBytes(bytes), { dialect })
}

function paths(tree: DirectoryNode): string[] {
  return [...dumpTree(tree)].map((line) => line.split(" ").slice(0, 2).join(" "))
}

interface Refusal {
  readonly name: string
  readonly reason: string
  readonly code?: "integrity" | "config"
  /** What the tar of image layers does with it, where that is not an error. */
  readonly layer?: readonly string[]
  readonly tar: Uint8Array
}

const directory = { type: "5", mode: "0000755" }
const link = { type: "1" }
const outward = member({ name: "a", type: "2", linkName: "../../etc" })
const refusedNames: readonly Refusal[] = [
  { name: "parent", reason: "bad-name", tar: rawTar(member({ name: "../x" })) },
  { name: "parent within", reason: "bad-name", tar: rawTar(member({ name: "a/../../x" })) },
  {
    name: "parent at the end",
    reason: "bad-name",
    tar: rawTar(member({ ...directory, name: "a/.." })),
  },
  { name: "parent after a dot", reason: "bad-name", tar: rawTar(member({ name: "./../x" })) },
  { name: "parent in PAX", reason: "bad-name", tar: rawTar(pax({ path: "../x" }), member({})) },
  {
    name: "parent in a GNU name",
    reason: "bad-name",
    tar: rawTar(member({ type: "L", data: "../x\0" }), member({})),
  },
  {
    name: "parent in a sparse name",
    reason: "bad-name",
    tar: rawTar(
      pax({
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "../x",
        "GNU.sparse.realsize": "0",
      }),
      member({ data: "0\n".padEnd(512, "\0") }),
    ),
  },
  {
    name: "absolute",
    reason: "absolute",
    layer: ["/etc directory", "/etc/x file"],
    tar: rawTar(member({ name: "/etc/x" })),
  },
  {
    name: "absolute prefix",
    reason: "absolute",
    layer: ["/p directory", "/p/x file"],
    tar: rawTar(member({ name: "x", prefix: "/p" })),
  },
  { name: "NUL in PAX", reason: "bad-name", tar: rawTar(pax({ path: "a\0b" }), member({})) },
  {
    name: "overlong name",
    reason: "bad-name",
    tar: rawTar(pax({ path: "n".repeat(256) }), member({})),
  },
  {
    name: "too deep",
    reason: "too-deep",
    tar: rawTar(pax({ path: "d/".repeat(1025) }), member(directory)),
  },
  { name: "no name", reason: "tar-header", code: "integrity", tar: rawTar(member({ name: "" })) },
  { name: "the root as a file", reason: "conflict", tar: rawTar(member({ name: "." })) },
  { name: "a file with a slash", reason: "tar-name", tar: rawTar(member({ name: "a/" })) },
  {
    name: "through a file",
    reason: "conflict",
    tar: rawTar(member({ name: "a" }), member({ name: "a/b" })),
  },
  {
    name: "through a symlink out of the tree",
    reason: "through-symlink",
    layer: ["/a symlink", "/etc directory", "/etc/x file"],
    tar: rawTar(outward, member({ name: "a/x" })),
  },
  {
    name: "through a symlink loop",
    reason: "through-symlink",
    tar: rawTar(member({ name: "a", type: "2", linkName: "a" }), member({ name: "a/x" })),
  },
]

const refusedLinks: readonly Refusal[] = [
  { name: "to nothing", reason: "bad-link", tar: rawTar(member({ ...link, linkName: "none" })) },
  {
    name: "to what comes later",
    reason: "bad-link",
    tar: rawTar(member({ ...link, linkName: "b" }), member({ name: "b" })),
  },
  { name: "to itself", reason: "bad-link", tar: rawTar(member({ ...link, linkName: "file" })) },
  {
    name: "to a directory",
    reason: "bad-link",
    tar: rawTar(member({ ...directory, name: "d" }), member({ ...link, linkName: "d" })),
  },
  { name: "to the root", reason: "bad-link", tar: rawTar(member({ ...link, linkName: "." })) },
  {
    name: "out of the tree",
    reason: "bad-name",
    tar: rawTar(member({ ...link, linkName: "../etc/passwd" })),
  },
  {
    name: "absolute",
    reason: "absolute",
    layer: ["/b file", "/file file"],
    tar: rawTar(member({ name: "b" }), member({ ...link, linkName: "/b" })),
  },
  {
    name: "through a symlink",
    reason: "through-symlink",
    tar: rawTar(outward, member({ ...link, linkName: "a/passwd" })),
  },
  { name: "no target", reason: "tar-header", code: "integrity", tar: rawTar(member(link)) },
  { name: "symlink with no target", reason: "bad-target", tar: rawTar(member({ type: "2" })) },
  {
    name: "symlink with NUL",
    reason: "bad-target",
    tar: rawTar(pax({ linkpath: "a\0b" }), member({ type: "2" })),
  },
  {
    name: "symlink too long",
    reason: "bad-target",
    tar: rawTar(pax({ linkpath: "a".repeat(4096) }), member({ type: "2" })),
  },
]

const refusedPairs: readonly Refusal[] = [
  {
    name: "a file twice",
    reason: "duplicate",
    layer: ["/file file"],
    tar: rawTar(member({}), member({ data: "b" })),
  },
  {
    name: "the same by another name",
    reason: "duplicate",
    layer: ["/file file"],
    tar: rawTar(member({}), member({ name: "./file" })),
  },
  {
    name: "a directory twice",
    reason: "duplicate",
    layer: ["/d directory"],
    tar: rawTar(member({ ...directory, name: "d" }), member({ ...directory, name: "d" })),
  },
  {
    name: "the root twice",
    reason: "duplicate",
    layer: [],
    tar: rawTar(member({ ...directory, name: "./" }), member({ ...directory, name: "." })),
  },
  {
    name: "a file over a directory",
    reason: "conflict",
    layer: ["/d file"],
    tar: rawTar(member({ name: "d/x" }), member({ name: "d" })),
  },
  {
    name: "a directory over a file",
    reason: "conflict",
    layer: ["/d directory"],
    tar: rawTar(member({ name: "d" }), member({ ...directory, name: "d" })),
  },
  {
    name: "a link over a file",
    reason: "duplicate",
    layer: ["/a file", "/file file"],
    tar: rawTar(member({ name: "a" }), member({}), member({ ...link, linkName: "a" })),
  },
]

for (const [title, cases] of [
  ["names", refusedNames],
  ["links", refusedLinks],
  ["pairs", refusedPairs],
] as const) {
  test(`hostile ${title} are refused`, () => {
    for (const { name, reason, code = "config", layer, tar } of cases) {
      assert.throws(
        () => read(tar),
        (error) => error instanceof CofferError && error.code === code && error.reason === reason,
        name,
      )
      if (layer !== undefined)
        assert.deepEqual(paths(read(tar, "layer")), ["/ directory", ...layer], name)
      else assert.throws(() => read(tar, "layer"), CofferError, name)
    }
  })
}

const base256 = (...bytes: number[]): string => String.fromCharCode(...bytes)
const sparse = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s" }
const old = { "GNU.sparse.size": "100", "GNU.sparse.numblocks": "2" }

function sparse1(realSize: string, map: string, data = ""): Uint8Array {
  const padded = map.padEnd(512, "\0")
  return rawTar(
    pax({ ...sparse, "GNU.sparse.realsize": realSize }),
    member({ data: padded + data }),
  )
}

const damaged: readonly (readonly [name: string, reason: string, tar: Uint8Array])[] = [
  ["wrong checksum", "tar-checksum", rawTar(member({ checksum: "0000001" }))],
  ["checksum that is no number", "tar-number", rawTar(member({ checksum: "xxxxxxx" }))],
  ["wrong magic", "tar-header", rawTar(member({ magic: "ustar!!!" }))],
  ["unknown type", "tar-unsupported", rawTar(member({ type: "M" }))],
  ["size past the end", "tar-truncated", rawTar(member({ size: octal(5000) }))],
  ["size of 8 GiB", "tar-truncated", rawTar(member({ size: "77777777777" }))],
  [
    "negative size",
    "tar-number",
    rawTar(member({ size: base256(...Array<number>(12).fill(0xff)) })),
  ],
  [
    "size over 2^53",
    "tar-number",
    rawTar(member({ size: base256(0x80, ...Array<number>(11).fill(0xff)) })),
  ],
  ["size with a sign", "tar-number", rawTar(member({ size: "-0000000001" }))],
  ["size with other digits", "tar-number", rawTar(member({ size: "00000000008" }))],
  ["size of a directory", "tar-header", rawTar(member({ ...directory, data: "x" }))],
  ["size of a symlink", "tar-header", rawTar(member({ type: "2", linkName: "a", data: "x" }))],
  [
    "size of a hard link",
    "tar-header",
    rawTar(member({ name: "a" }), member({ ...link, linkName: "a", data: "x" })),
  ],
  ["size of a fifo", "tar-header", rawTar(member({ type: "6", data: "x" }))],
  ["PAX size past the end", "tar-truncated", rawTar(pax({ size: "5000" }), member({}))],
  ["PAX size over 2^53", "tar-number", rawTar(pax({ size: "99999999999999999999" }), member({}))],
  ["negative PAX size", "tar-number", rawTar(pax({ size: "-1" }), member({}))],
  ["PAX size with an exponent", "tar-number", rawTar(pax({ size: "1e3" }), member({}))],
  ["PAX uid of nobody", "tar-number", rawTar(pax({ uid: "4294967295" }), member({}))],
  ["negative uid", "tar-number", rawTar(member({ uid: base256(...Array<number>(8).fill(0xff)) }))],
  ["PAX time that is none", "tar-number", rawTar(pax({ mtime: "soon" }), member({}))],
  [
    "device numbers",
    "tar-number",
    rawTar(member({ type: "3", major: "0010000", minor: "0000000" })),
  ],
  [
    "extended header too large",
    "tar-extension",
    rawTar(member({ type: "x", size: octal(2 ** 21), data: "" })),
  ],
  [
    "GNU name too large",
    "tar-extension",
    rawTar(member({ type: "L", size: octal(2 ** 30), data: "" })),
  ],
  [
    "two extended headers",
    "tar-extension",
    rawTar(pax({ path: "a" }), pax({ path: "b" }), member({})),
  ],
  [
    "two GNU names",
    "tar-extension",
    rawTar(member({ type: "L", data: "a" }), member({ type: "L", data: "b" }), member({})),
  ],
  ["extended header of nothing", "tar-truncated", rawTar(pax({ path: "a" }))],
  [
    "key twice",
    "tar-extension",
    rawTar(
      pax([
        ["path", "a"],
        ["path", "b"],
      ]),
      member({}),
    ),
  ],
  [
    "record length past the end",
    "tar-extension",
    rawTar(member({ type: "x", data: "999 path=a\n" }), member({})),
  ],
  [
    "record length too short",
    "tar-extension",
    rawTar(member({ type: "x", data: "5 path=a\n" }), member({})),
  ],
  [
    "record length huge",
    "tar-extension",
    rawTar(member({ type: "x", data: "99999999999999999999 path=a\n" }), member({})),
  ],
  [
    "record length zero",
    "tar-extension",
    rawTar(member({ type: "x", data: "0 path=a\n" }), member({})),
  ],
  [
    "record without a key",
    "tar-extension",
    rawTar(member({ type: "x", data: "5 =a\n" }), member({})),
  ],
  [
    "record without a value",
    "tar-extension",
    rawTar(member({ type: "x", data: "7 path\n" }), member({})),
  ],
  [
    "record without an end",
    "tar-extension",
    rawTar(member({ type: "x", data: "9 path=ab" }), member({})),
  ],
  ["unknown charset", "tar-unsupported", rawTar(pax({ hdrcharset: "EBCDIC" }), member({}))],
  [
    "xattr too large",
    "tar-extension",
    rawTar(pax({ "SCHILY.xattr.user.a": "x".repeat(65537) }), member({})),
  ],
  [
    "xattrs that differ",
    "tar-extension",
    rawTar(pax({ "SCHILY.xattr.user.a": "x", "LIBARCHIVE.xattr.user.a": "eQ" }), member({})),
  ],
  [
    "xattr in bad base64",
    "tar-extension",
    rawTar(pax({ "LIBARCHIVE.xattr.user.a": "e$" }), member({})),
  ],
  ["ranges that overlap", "tar-sparse", sparse1("100", "2\n0\n10\n5\n10\n", "x".repeat(20))],
  ["ranges in the wrong order", "tar-sparse", sparse1("100", "2\n50\n10\n0\n10\n", "x".repeat(20))],
  ["range past the end", "tar-sparse", sparse1("10", "1\n5\n10\n", "x".repeat(10))],
  ["ranges longer than the data", "tar-sparse", sparse1("100", "1\n0\n50\n", "x".repeat(20))],
  ["ranges shorter than the data", "tar-sparse", sparse1("100", "1\n0\n10\n", "x".repeat(20))],
  ["a map that does not end", "tar-sparse", sparse1("100", "400\n0\n10\n")],
  ["a map with a huge count", "tar-sparse", sparse1("100", "99999999\n0\n10\n")],
  ["a map of no numbers", "tar-sparse", sparse1("100", "hello\n")],
  ["a file of 2^60", "tar-number", sparse1(String(2 ** 60), "0\n")],
  ["a file of 2^45", "tar-number", sparse1(String(2 ** 45), "0\n")],
  [
    "unknown sparse version",
    "tar-sparse",
    rawTar(pax({ "GNU.sparse.major": "2", "GNU.sparse.minor": "0" }), member({})),
  ],
  [
    "sparse without a size",
    "tar-sparse",
    rawTar(pax({ "GNU.sparse.map": "0,1", "GNU.sparse.numblocks": "1" }), member({ data: "x" })),
  ],
  [
    "sparse count that lies",
    "tar-sparse",
    rawTar(pax({ ...old, "GNU.sparse.map": "0,1" }), member({ data: "x" })),
  ],
  [
    "sparse map with half a pair",
    "tar-sparse",
    rawTar(pax({ ...old, "GNU.sparse.map": "0,1,2" }), member({ data: "x" })),
  ],
  [
    "sparse pairs in the wrong order",
    "tar-sparse",
    rawTar(pax([["GNU.sparse.numbytes", "1"]]), member({ data: "x" })),
  ],
]

test("damaged and lying tars are refused in both dialects", () => {
  for (const [name, reason, tar] of damaged) {
    assert.throws(
      () => read(tar),
      (error) =>
        error instanceof CofferError && error.code === "integrity" && error.reason === reason,
      name,
    )
    // Container tools take no data for what is no file: the size is then the next header's problem.
    assert.throws(() => read(tar, "layer"), CofferError, name)
  }
})

test("the end: two zero blocks and nothing but zeros, which layers may lack", () => {
  const whole = rawTar(member({ data: "x" }))
  const trailing = Buffer.concat([whole, member({ name: "hidden" })])
  const faults: readonly (readonly [Uint8Array, string])[] = [
    [new Uint8Array(0), "tar-truncated"],
    [whole.subarray(0, 1024), "tar-truncated"],
    [whole.subarray(0, 1536), "tar-truncated"],
    [trailing, "tar-trailing"],
  ]
  for (const [tar, reason] of faults) {
    assert.throws(
      () => read(tar),
      (error) => error instanceof CofferError && error.reason === reason,
    )
    read(tar, "layer")
  }
  assert.deepEqual(paths(read(trailing, "layer")), ["/ directory", "/file file"])
  read(Buffer.concat([whole, Buffer.alloc(9728)]))
})

test("global headers: owners and times hold until they are changed, all else is refused", () => {
  const global = pax({ uid: "7", mtime: "1.5", comment: "abc" }, "g")
  const tar = rawTar(global, member({ name: "a" }), pax({ uid: "8" }), member({ name: "b" }))
  assert.match(
    [...dumpTree(read(tar))].join("\n"),
    /\/a file 0644 7 0 1\.5.*\n\/b file 0644 8 0 1\.5/,
  )
  assert.match([...dumpTree(read(tar, "layer"))].join("\n"), /\/a file 0644 0 0 0\.0/)
  for (const key of ["path", "size", "linkpath", "SCHILY.xattr.user.a", "GNU.sparse.size"]) {
    assert.throws(() => read(rawTar(pax({ [key]: "1" }, "g"), member({}))), /global header/, key)
  }
})

test("xattrs: binary values, names with = and %, what Linux cannot have, what the machine gives", () => {
  const value = "\n\0\xff="
  const records = {
    "SCHILY.xattr.user.a%3Db%25": value,
    "SCHILY.xattr.security.selinux": "label",
    "LIBARCHIVE.xattr.user.c": "AP8",
    "SCHILY.xattr.user.empty": "",
  }
  const [, line = ""] = [...dumpTree(read(rawTar(pax(records), member({}))))]
  assert.match(line, / user\.a\\x3db%=0a00ff3d,user\.c=00ff,user\.empty=$/)
  const foreign = rawTar(pax({ "SCHILY.xattr.com.apple.quarantine": "q" }), member({}))
  assert.throws(() => read(foreign), /wanted xattrs that Linux can have/)
  assert.match([...dumpTree(read(foreign, "layer"))][1] ?? "", / -$/)
})

function acl(text: string): string {
  return [...dumpTree(read(rawTar(pax({ "SCHILY.acl.access": text }), member({}))))][1] ?? ""
}

test("ACLs: text with numeric ids, star's fourth field, and no names", () => {
  const hex =
    "0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff"
  const wanted = new RegExp(`system.posix_acl_access=${hex}$`)
  assert.match(acl("user::rw-,user:1000:rwx,group::r--,mask::rwx,other::r--"), wanted)
  assert.match(acl("other::r--\nmask::rwx\nuser:joe:rwx:1000\ngroup::r--\nuser::rw-\n"), wanted)
  assert.match(acl("user::rw-,group::r--,other::r--"), / -$/)
  for (const text of [
    "user::rw-,user:joe:rwx,group::r--,mask::rwx,other::r--",
    "user::rw-,user:1000:rwx,group::r--,other::r--",
    "user::rw-,user::rw-,group::r--,other::r--",
    "user::rwz,group::r--,other::r--",
    "user::rw-",
    "nonsense",
  ]) {
    assert.throws(
      () => acl(text),
      (error) =>
        error instanceof CofferError && error.reason === "tar-acl" && error.hint !== undefined,
      text,
    )
  }
})

test("times: fractions, before 1970, finer than a nanosecond, base-256", () => {
  const time = (text: string): string =>
    ([...dumpTree(read(rawTar(pax({ mtime: text }), member({}))))][1] ?? "").split(" ")[5] ?? ""
  assert.equal(time("1.5"), "1.500000000")
  assert.equal(time("1."), "1.000000000")
  assert.equal(time("-0.5"), "-1.500000000")
  assert.equal(time("-3"), "-3.000000000")
  assert.equal(time("1.9999999999"), "1.999999999")
  assert.equal(time("-1.9999999999"), "-2.000000000")
  const before = member({ mtime: base256(...Array<number>(11).fill(0xff), 0xfe) })
  assert.match([...dumpTree(read(rawTar(before)))][1] ?? "", / -2\.000000000 /)
})

test("a root without an entry is 0755 0:0 at time 0, and so are parents without one", () => {
  const lines = [...dumpTree(read(rawTar(member({ name: "a/b" }))))]
  assert.equal(lines[0], "/ directory 0755 0 0 0.000000000 - - - -")
  assert.equal(lines[1], "/a directory 0755 0 0 0.000000000 - - - -")
  const late = rawTar(member({ name: "a/b" }), member({ ...directory, name: "a", uid: "0000005" }))
  assert.equal([...dumpTree(read(late))][1], "/a directory 0755 5 0 0.000000000 - - - -")
})

test("a small tar cannot describe a huge tree", () => {
  const deep = Array.from({ length: 2100 }, (_, i) => deepDirectory(i))
  assert.throws(() => read(rawTar(...deep)), /at most 2097152 paths/)
})

function deepDirectory(i: number): Uint8Array {
  return Buffer.concat([pax({ path: `${i}/${"d/".repeat(1000)}` }), member({ type: "5" })])
}

test("a hard link is one node, also to a symlink", () => {
  const tree = read(
    rawTar(
      member({ name: "s", type: "2", linkName: "x" }),
      member({ ...link, name: "t", linkName: "./s" }),
    ),
  )
  assert.equal(tree.children.get("s" as ByteString), tree.children.get("t" as ByteString))
})
