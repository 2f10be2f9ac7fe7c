import { execFileSync } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { utf8 } from "../../../src/bytes/index.ts"
import { member, rawTar } from "../raw-tar.ts"
import {
  type HostileImage,
  type Json,
  layer,
  plainLayer,
  refused,
  sha256,
  tree,
  writeImage,
} from "./make.ts"

// Archives: what `docker save` writes, and layouts in a tar.

interface ArchiveSpec {
  /** Members before the manifest. */
  readonly members?: readonly Uint8Array[]
  readonly manifest?: unknown
  readonly config?: Json
}

const layerMember = member({ name: "one/layer.tar", data: plainLayer.blob })
const plainTree = tree("/bin directory", "/bin/true file")

function configOf(blob: Uint8Array, more: Json = {}): Json {
  return {
    architecture: "amd64",
    os: "linux",
    config: { Entrypoint: ["/bin/true"] },
    rootfs: { type: "layers", diff_ids: [sha256(blob)] },
    ...more,
  }
}

function archive(
  name: string,
  spec: ArchiveSpec,
  expected: HostileImage["expected"],
): HostileImage {
  const { members = [layerMember], manifest, config = configOf(plainLayer.blob) } = spec
  const listed = manifest ?? [
    { Config: "config.json", RepoTags: ["a:1"], Layers: ["one/layer.tar"] },
  ]
  const text = typeof listed === "string" ? listed : JSON.stringify(listed)
  const make = (directory: string): string => {
    mkdirSync(directory, { recursive: true })
    const path = join(directory, "image.tar")
    const documents = [
      member({ name: "config.json", data: utf8(JSON.stringify(config)) }),
      member({ name: "manifest.json", data: utf8(text) }),
    ]
    writeFileSync(path, rawTar(...members, ...documents))
    return `docker-archive:${path}`
  }
  return { name, make, expected }
}

const link = (name: string, linkName: string, type: string): Uint8Array =>
  member({ name, linkName, type })
const one = { Config: "config.json", RepoTags: ["a:1"], Layers: ["one/layer.tar"] }

export const archives: readonly HostileImage[] = [
  archive("in order", {}, plainTree),
  archive(
    "a symlink in place of a layer, as old tools write it",
    {
      members: [
        member({ name: "x.tar", data: plainLayer.blob }),
        link("one/layer.tar", "../x.tar", "2"),
      ],
    },
    plainTree,
  ),
  archive(
    "a hard link in place of a layer",
    {
      members: [
        member({ name: "x.tar", data: plainLayer.blob }),
        link("one/layer.tar", "x.tar", "1"),
      ],
    },
    plainTree,
  ),
  archive(
    "a symlink to the host in place of a layer",
    { members: [link("one/layer.tar", "/etc/passwd", "2")] },
    refused("missing", /found no one\/layer\.tar in it/),
  ),
  archive(
    "a symlink out of the archive",
    { members: [link("one/layer.tar", "../../../../../../etc/passwd", "2")] },
    refused("missing", /found no one\/layer\.tar in it/),
  ),
  archive(
    "symlinks in a ring",
    { members: [link("one/layer.tar", "layer.tar", "2")] },
    refused("missing", /found no one\/layer\.tar in it/),
  ),
  archive(
    "a hard link to the host in place of a layer",
    { members: [link("one/layer.tar", "/etc/passwd", "1")] },
    refused("config", /wanted a file to link to/),
  ),
  archive(
    "a layer by a way up",
    { manifest: [{ ...one, Layers: ["../../etc/passwd"] }] },
    refused("missing", /wanted an image archive, found no \.\.\/\.\.\/etc\/passwd/),
  ),
  archive(
    "a layer by an absolute way",
    { manifest: [{ ...one, Layers: ["/etc/passwd"] }] },
    refused("missing", /found no \/etc\/passwd/),
  ),
  archive(
    "a layer that is a folder",
    { manifest: [{ ...one, Layers: ["one"] }] },
    refused("missing", /found no one in it/),
  ),
  archive(
    "a layer of other bytes",
    { members: [member({ name: "one/layer.tar", data: layer().blob })] },
    refused("integrity", /decompressed: wanted digest/),
  ),
  archive(
    "fewer layers than the config says",
    { manifest: [{ ...one, Layers: [] }] },
    refused("config", /wanted 1 layers, as the config says, found 0/),
  ),
  archive(
    "one layer a thousand times",
    {
      manifest: [{ ...one, Layers: Array<string>(1000).fill("one/layer.tar") }],
      config: configOf(plainLayer.blob, {
        rootfs: { type: "layers", diff_ids: Array<string>(1000).fill(sha256(plainLayer.blob)) },
      }),
    },
    plainTree,
  ),
  archive(
    "the manifest as a config",
    { manifest: [{ ...one, Config: "manifest.json" }] },
    refused("config", /image config/),
  ),
  archive("no images", { manifest: [] }, refused("missing", /found none/)),
  archive(
    "two images",
    { manifest: [one, { ...one, RepoTags: ["\x1b[2Jb:2"] }] },
    refused("usage", /wanted one image, found 2/),
  ),
  archive(
    "a list that is none",
    { manifest: "{}" },
    refused("config", /manifest\.json: wanted a list of images/),
  ),
  archive(
    "escape sequences in a path",
    { manifest: [{ ...one, Layers: ["\x1b[2J"] }] },
    refused("missing", /found no \\x1b\[2J in it/),
  ),
  archive(
    "a path of 5,000 bytes",
    { manifest: [{ ...one, Layers: ["x".repeat(5000)] }] },
    refused("config", /wanted a list of images/),
  ),
  archive(
    "a file that leaves the archive",
    { members: [member({ name: "../../x" }), layerMember] },
    refused("config", /no '\.' or '\.\.'/),
  ),
  file("no tar", Buffer.alloc(5000, "x"), refused("integrity", /tar at byte 0/)),
  file("nothing", Buffer.alloc(0), refused("missing", /found no manifest\.json in it/)),
  file(
    "a tar of something else",
    rawTar(member({ name: "a" })),
    refused("missing", /found no manifest\.json in it/),
  ),
  file(
    "an index without a layout",
    rawTar(member({ name: "index.json", data: "{}" })),
    refused("missing", /found no oci-layout in it/),
  ),
  { name: "a layout in a tar", make: layoutInTar, expected: plainTree },
  compressed("an archive in gzip", (bytes) => gzipSync(bytes), plainTree),
  compressed("an archive in zstd", (bytes) => zstdCompressSync(bytes), plainTree),
  compressed(
    "an archive in gzip, cut",
    (bytes) => gzipSync(bytes).subarray(0, 200),
    refused("integrity", /wanted whole compressed data/),
  ),
  compressed(
    "an archive in gzip in gzip",
    (bytes) => gzipSync(gzipSync(bytes)),
    refused("integrity", /tar at byte 0/),
  ),
]

function file(name: string, bytes: Uint8Array, expected: HostileImage["expected"]): HostileImage {
  const make = (directory: string): string => {
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, "image.tar"), bytes)
    return `oci-archive:${join(directory, "image.tar")}`
  }
  return { name, make, expected }
}

function compressed(
  name: string,
  compress: (bytes: Uint8Array) => Uint8Array,
  expected: HostileImage["expected"],
): HostileImage {
  const make = (directory: string): string => {
    const path = layoutInTar(directory).replace("oci-archive:", "")
    writeFileSync(path, compress(readFileSync(path)))
    return `oci-archive:${path}`
  }
  return { name, make, expected }
}

function layoutInTar(directory: string): string {
  writeImage(join(directory, "layout"), {})
  const path = join(directory, "image.tar")
  execFileSync("tar", ["-C", join(directory, "layout"), "-cf", path, "."])
  return `oci-archive:${path}`
}
