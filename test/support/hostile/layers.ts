import { gzipSync, zstdCompressSync } from "node:zlib"
import { concatBytes } from "../../../src/bytes/index.ts"
import { member, octal, pax, rawTar } from "../raw-tar.ts"
import {
  type HostileImage,
  image,
  type LayerSpec,
  layer,
  plainLayer,
  refused,
  sha256,
  tarType,
  tree,
} from "./make.ts"

// Layers that want out of the tree, that lie about what lower layers have, or that want all of our memory.

const up = "../".repeat(20)
const directory = (name: string): Uint8Array => member({ name, type: "5", mode: "0000755" })
const file = (name: string, data = "x"): Uint8Array => member({ name, data })
const symlink = (name: string, linkName: string): Uint8Array =>
  member({ name, linkName, type: "2" })
const hardLink = (name: string, linkName: string): Uint8Array =>
  member({ name, linkName, type: "1" })

/** `canary` is a folder outside of all that may be written, with a file `secret` in it. */
export function escapes(canary: string): readonly HostileImage[] {
  const inner = canary.slice(1)
  const way = inner.split("/")
  const parents = way.map((_, i) => `/${way.slice(0, i + 1).join("/")} directory`)
  return [
    image("parent", { layers: [layer(file("../x"))] }, refused("config", /no '\.' or '\.\.'/)),
    image(
      "parents up to the root",
      { layers: [layer(file(`${up}${inner.slice(0, 40)}`.slice(0, 100)))] },
      refused("config", /no '\.' or '\.\.'/),
    ),
    image(
      "an absolute name",
      { layers: [layer(pax({ path: `${canary}/new` }), file("f"))] },
      tree(...parents, `${canary}/new file`),
    ),
    image(
      "through a symlink of its own layer",
      { layers: [layer(pax({ linkpath: canary }), symlink("a", "-"), file("a/new"))] },
      tree("/a symlink", ...parents, `${canary}/new file`),
    ),
    image(
      "through a symlink of a lower layer",
      {
        layers: [layer(pax({ linkpath: `${up}etc` }), symlink("a", "-")), layer(file("a/passwd"))],
      },
      tree("/a symlink", "/etc directory", "/etc/passwd file"),
    ),
    image(
      "a directory that becomes a symlink between two writes",
      {
        layers: [
          layer(directory("a"), file("a/one")),
          layer(symlink("a", "/etc")),
          layer(file("a/two")),
          layer(directory("a"), file("a/three")),
        ],
      },
      tree("/a directory", "/a/three file", "/etc directory", "/etc/two file"),
    ),
    image(
      "a symlink that is exchanged within one layer",
      { layers: [layer(directory("a"), symlink("a", "/etc"), file("a/x"), directory("a"))] },
      tree("/a directory", "/etc directory", "/etc/x file"),
    ),
  ]
}

/** Links that want a file of the host, and what stands in the way of a layer's own paths. */
export function links(canary: string): readonly HostileImage[] {
  return [
    image(
      "a hard link to the host",
      { layers: [layer(pax({ linkpath: `${canary}/secret` }), hardLink("a", "-"))] },
      refused("config", /wanted a file to link to at .*secret', found nothing/),
    ),
    image(
      "a hard link out of the tree",
      { layers: [layer(hardLink("a", `${up}etc/passwd`))] },
      refused("config", /no '\.' or '\.\.'/),
    ),
    image(
      "a hard link through a symlink to the host",
      { layers: [layer(pax({ linkpath: canary }), symlink("a", "-"), hardLink("b", "a/secret"))] },
      refused("config", /found nothing/),
    ),
    image(
      "a hard link to a symlink links the symlink",
      { layers: [layer(symlink("a", "/etc/passwd"), hardLink("b", "a"))] },
      tree("/a symlink", "/b symlink"),
    ),
    image(
      "a hard link to a directory",
      { layers: [layer(directory("d"), hardLink("a", "d"))] },
      refused("config", /wanted a file to link to at 'd', found a directory/),
    ),
    image(
      "a hard link to a later file",
      { layers: [layer(hardLink("a", "b"), file("b"))] },
      refused("config", /found nothing/),
    ),
    image(
      "a hard link to a file of a lower layer",
      { layers: [layer(file("b")), layer(hardLink("a", "b"))] },
      tree("/a file", "/b file"),
    ),
    image(
      "symlinks in a ring",
      { layers: [layer(symlink("a", "b"), symlink("b", "a"), file("a/x"))] },
      refused("config", /wanted 40 symlinks, found more/),
    ),
    image(
      "a file as a folder of a later layer",
      { layers: [layer(file("a")), layer(file("a/x"))] },
      refused("config", /directories on the way to it, found a file/),
    ),
    image(
      "the root as a symlink",
      { layers: [layer(symlink(".", "/etc"))] },
      refused("config", /wanted a directory as the root, found a file/),
    ),
  ]
}

export const whiteouts: readonly HostileImage[] = [
  image(
    "of a parent",
    { layers: [layer(file("a/b/c")), layer(file(".wh.a", ""), file("a/b/d"))] },
    tree("/a directory", "/a/b directory", "/a/b/d file"),
  ),
  image(
    "after what its own layer has",
    { layers: [layer(file("a/old")), layer(file("a/new"), file(".wh.a", ""))] },
    tree("/a directory", "/a/new file"),
  ),
  image(
    "opaque, in the middle of its own files",
    { layers: [layer(file("d/old")), layer(file("d/a"), file("d/.wh..wh..opq", ""), file("d/z"))] },
    tree("/d directory", "/d/a file", "/d/z file"),
  ),
  image(
    "opaque in the lowest layer",
    { layers: [layer(file(".wh..wh..opq", ""), file("a"))] },
    tree("/a file"),
  ),
  image(
    "of the root",
    { layers: [plainLayer, layer(file(".wh.", ""))] },
    refused("config", /wanted a whiteout that names a file/),
  ),
  image(
    "of the folder itself",
    { layers: [plainLayer, layer(file("bin/.wh..", ""))] },
    refused("config", /wanted a whiteout that names a file/),
  ),
  image(
    "of the folder above",
    { layers: [plainLayer, layer(file("bin/.wh...", ""))] },
    refused("config", /wanted a whiteout that names a file/),
  ),
  image(
    "through a symlink of a lower layer stays in the tree",
    {
      layers: [
        layer(symlink("way", "/real"), file("real/a"), file("real/b")),
        layer(file("way/.wh.a", "")),
      ],
    },
    tree("/way symlink", "/real directory", "/real/b file"),
  ),
  image(
    "opaque through a symlink to the root",
    { layers: [layer(symlink("way", "../../.."), file("a")), layer(file("way/.wh..wh..opq", ""))] },
    tree(),
  ),
  image(
    "names of aufs, and what is below them",
    { layers: [layer(file(".wh..wh.aufs"), file(".wh..wh.plnk/12.34"), file("a"))] },
    tree("/a file"),
  ),
  image(
    "as a device, a directory, a hard link",
    {
      layers: [
        layer(file("a"), file("b"), file("c"), file("d")),
        layer(
          member({ name: ".wh.a", type: "3", major: "0000000", minor: "0000000" }),
          directory(".wh.b"),
          hardLink(".wh.c", "nowhere"),
        ),
      ],
    },
    tree("/d file"),
  ),
  image(
    "of what a hard link of its layer wants",
    { layers: [layer(file("a")), layer(file(".wh.a", ""), hardLink("b", "a"))] },
    refused("config", /wanted a file to link to at 'a', found nothing/),
  ),
  image(
    "of one name of two keeps the other",
    { layers: [layer(file("a"), hardLink("b", "a")), layer(file(".wh.a", ""))] },
    tree("/b file"),
  ),
  image(
    "as a character device 0:0, which is overlayfs's own form, hides nothing here",
    {
      layers: [
        layer(file("a")),
        layer(member({ name: "a", type: "3", major: "0000000", minor: "0000000" })),
      ],
    },
    tree("/a character"),
  ),
]

const high = String.fromCharCode(0x80, 0, 0, 1, 0, 0, 0, 0)

export const members: readonly HostileImage[] = [
  image(
    "devices are nodes of the tree, never of the host",
    {
      layers: [
        layer(
          member({ name: "dev/sda", type: "4", major: "0000010", minor: "0000000" }),
          member({ name: "dev/mem", type: "3", major: "0000001", minor: "0000001" }),
          member({ name: "fifo", type: "6" }),
        ),
      ],
    },
    tree("/dev directory", "/dev/sda block", "/dev/mem character", "/fifo fifo"),
  ),
  image(
    "device numbers that Linux has not",
    { layers: [layer(member({ name: "d", type: "3", major: "0777777", minor: "0000000" }))] },
    refused("integrity", /wanted device numbers that Linux has/),
  ),
  image(
    "a name of 256 bytes",
    { layers: [layer(pax({ path: "n".repeat(256) }), file("f"))] },
    refused("config", /wanted names up to 255 bytes, found 256 bytes/),
  ),
  image(
    "a name of 255 bytes",
    { layers: [layer(pax({ path: "n".repeat(255) }), file("f"))] },
    tree(`/${"n".repeat(255)} file`),
  ),
  image(
    "NUL in a name",
    { layers: [layer(pax({ path: "a\0b" }), file("f"))] },
    refused("config", /wanted a name without NUL/),
  ),
  image(
    "a depth of 1,025",
    { layers: [layer(pax({ path: "d/".repeat(1025) }), directory("d"))] },
    refused("config", /wanted a depth up to 1024/),
  ),
  image(
    "escape sequences in a name that is refused",
    { layers: [layer(pax({ path: "\x1b]0;owned\x07/../x" }), file("f"))] },
    refused("config", /^\\x1b\]0;owned\\x07\//),
  ),
  image(
    "a PAX header of 2 MiB",
    { layers: [layer(member({ name: "p", type: "x", size: octal(2 ** 21), data: "" }))] },
    refused("integrity", /wanted an extended header up to 1048576 bytes/),
  ),
  image(
    "a GNU name of 1 GiB",
    { layers: [layer(member({ name: "p", type: "L", size: octal(2 ** 30), data: "" }))] },
    refused("integrity", /wanted an extended header up to 1048576 bytes/),
  ),
  image(
    "a GNU name over a PAX name",
    {
      layers: [
        layer(pax({ path: "pax" }), member({ name: "L", type: "L", data: "gnu\0" }), file("f")),
      ],
    },
    tree("/pax file"),
  ),
  image(
    "a global header that names files",
    { layers: [layer(pax({ path: "evil", size: "0" }, "g"), file("a"), file("b"))] },
    tree("/a file", "/b file"),
  ),
  image(
    "a negative time",
    { layers: [layer(pax({ mtime: "-9999999999.5" }), file("a"))] },
    tree("/a file"),
  ),
  image(
    "a uid of 2^32",
    { layers: [layer(member({ name: "a", uid: high }))] },
    refused("integrity", /wanted a uid up to 4294967294/),
  ),
  image(
    "the uid of nobody at all",
    { layers: [layer(pax({ uid: "4294967295" }), file("a"))] },
    refused("integrity", /wanted a uid up to 4294967294/),
  ),
  image(
    "a size past the end",
    { layers: [layer(member({ name: "a", size: octal(2 ** 32) }))] },
    refused("integrity", /wanted 4294967296 bytes of data/),
  ),
  image(
    "a sparse file of 2^45 bytes",
    {
      layers: [
        layer(
          pax({
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "s",
            "GNU.sparse.realsize": String(2 ** 45),
          }),
          member({ data: "0\n".padEnd(512, "\0") }),
        ),
      ],
    },
    refused("integrity", /wanted a file up to 17592186044416 bytes/),
  ),
  image(
    "sparse ranges that overlap",
    {
      layers: [
        layer(
          pax({
            "GNU.sparse.size": "100",
            "GNU.sparse.numblocks": "2",
            "GNU.sparse.map": "0,10,5,10",
          }),
          member({ name: "s", data: "x".repeat(20) }),
        ),
      ],
    },
    refused("integrity", /tar at byte/),
  ),
  image(
    "no end, and a second tar behind the end",
    {
      layers: [
        { blob: file("a") },
        { blob: concatBytes(rawTar(file("b")), rawTar(file("behind"))) },
      ],
    },
    tree("/a file", "/b file"),
  ),
  image(
    "a layer of no bytes",
    { layers: [{ blob: new Uint8Array(0) }, layer(file("a"))] },
    tree("/a file"),
  ),
  image(
    "a layer that is no tar",
    { layers: [{ blob: Buffer.alloc(1024, "no tar ") }] },
    refused("integrity", /tar at byte 0/),
  ),
]

function gzip(blob: Uint8Array): LayerSpec {
  return { blob: gzipSync(blob), mediaType: `${tarType}+gzip`, diffId: sha256(blob) }
}

const small = rawTar(file("a"))

/** Forty times 64 MiB of zeros. */
function bomb(type: "gzip" | "zstd"): LayerSpec {
  const zeros = Buffer.alloc(1 << 26)
  const part = type === "gzip" ? gzipSync(zeros) : zstdCompressSync(zeros)
  const blob = Buffer.concat(Array<Uint8Array>(40).fill(part))
  return { blob, mediaType: `${tarType}+${type}`, diffId: sha256(blob) }
}

const tooMuch = refused("config", /wanted at most \d+ bytes after decompression/)

export const bombs: readonly HostileImage[] = [
  image("gzip", () => ({ layers: [bomb("gzip")] }), tooMuch),
  image("zstd", () => ({ layers: [bomb("zstd")] }), tooMuch),
  image(
    "a bomb in a file stays what it is",
    () => {
      const data = gzipSync(gzipSync(Buffer.alloc(1 << 28)))
      return { layers: [layer(member({ name: "bomb.gz.gz", data }))] }
    },
    tree("/bomb.gz.gz file"),
  ),
  image(
    "gzip in gzip is decompressed once",
    { layers: [gzip(gzipSync(small))] },
    refused("integrity", /tar at byte 0/),
  ),
  image(
    "one layer of 100 MiB a thousand times",
    () => {
      const large = rawTar(member({ name: "a", data: Buffer.alloc(100 << 20, "y") }))
      return { layers: Array<LayerSpec>(1000).fill(gzip(large)) }
    },
    tree("/a file"),
  ),
  image(
    "gzip that is cut",
    { layers: [{ ...gzip(small), blob: gzipSync(small).subarray(0, 60) }] },
    refused("integrity", /wanted whole compressed data/),
  ),
  image(
    "gzip with something behind it",
    () => ({
      layers: [
        { ...gzip(small), blob: concatBytes(gzipSync(small), Buffer.alloc(3 << 20, "evil")) },
      ],
    }),
    refused("integrity", /layer sha256/),
  ),
  image(
    "plain bytes under the name of zstd",
    { layers: [{ ...layer(file("a")), mediaType: `${tarType}+zstd` }] },
    refused("integrity", /wanted whole compressed data/),
  ),
]

/** 100,000 files of a few bytes, in one folder and in many. */
export const manyFiles: HostileImage = image(
  "100,000 tiny files",
  () => {
    const all = Array.from({ length: 100_000 }, (_, i) =>
      file(i % 2 === 0 ? `flat/${i}` : `deep/${i % 300}/${i}`, String(i)),
    )
    return { layers: [{ blob: Buffer.concat(all) }] }
  },
  { tree: [`${100_000 + 2 + 150} places`] },
)
