import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { member } from "../raw-tar.ts"
import {
  configType,
  type HostileImage,
  image,
  indexType,
  type Json,
  layer,
  manifestType,
  plainLayer,
  RawLayout,
  refused,
  sha256,
  tarType,
  tree,
} from "./make.ts"

// Documents and blobs that lie about each other.

const noImage = `sha256:${"0".repeat(64)}`
const bad = sha256(new Uint8Array(1))
const plainTree = tree("/bin directory", "/bin/true file")
const bytes = plainLayer.blob

export const blobs: readonly HostileImage[] = [
  image("in order", {}, plainTree),
  image(
    "a wrong size, too large",
    { layers: [{ ...plainLayer, descriptor: { size: bytes.length + 1 } }] },
    refused("integrity", /wanted 2049 bytes, found 2048/),
  ),
  image(
    "a wrong size, none",
    { layers: [{ ...plainLayer, descriptor: { size: 0 } }] },
    refused("integrity", /wanted 0 bytes, found 2048/),
  ),
  image(
    "a negative size",
    { layers: [{ ...plainLayer, descriptor: { size: -1 } }] },
    refused("config", /layers\.0\.size/),
  ),
  image(
    "a size over 2^53",
    { layers: [{ ...plainLayer, descriptor: { size: 2 ** 60 } }] },
    refused("config", /layers\.0\.size/),
  ),
  image(
    "no size",
    { layers: [{ ...plainLayer, descriptor: { size: undefined } }] },
    refused("config", /layers\.0\.size/),
  ),
  image(
    "a layer that is not there",
    { layers: [{ ...plainLayer, absent: true }] },
    refused("missing", /wanted blob sha256:[0-9a-f]+, found none in the image/),
  ),
  image(
    "a foreign layer, to be fetched from a URL",
    {
      layers: [
        {
          ...plainLayer,
          absent: true,
          mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
          descriptor: { urls: ["http://127.0.0.1:1/layer"] },
        },
      ],
    },
    refused("missing", /wanted blob sha256/),
  ),
  image(
    "an unknown media type",
    { layers: [{ ...plainLayer, mediaType: "application/x-tar" }] },
    refused("config", /wanted a tar, plain, gzip or zstd, found media type application\/x-tar/),
  ),
  image(
    "an encrypted layer",
    { layers: [{ ...plainLayer, mediaType: `${tarType}+gzip+encrypted` }] },
    refused("config", /found media type .*encrypted/),
  ),
  image(
    "escape sequences in a media type",
    { layers: [{ ...plainLayer, mediaType: "\x1b[2Jx" }] },
    refused("config", /found media type \\x1b\[2Jx/),
  ),
  image(
    "a media type of 256 characters",
    { layers: [{ ...plainLayer, mediaType: "a".repeat(256) }] },
    refused("config", /layers\.0\.mediaType/),
  ),
  image(
    "a digest of another hash",
    { layers: [{ ...plainLayer, descriptor: { digest: `sha512:${"0".repeat(128)}` } }] },
    refused("config", /layers\.0\.digest: wanted sha256: and 64/),
  ),
  image(
    "a digest that is a path",
    { layers: [{ ...plainLayer, descriptor: { digest: "sha256:../../../../etc/passwd" } }] },
    refused("config", /layers\.0\.digest: wanted sha256/),
  ),
  image(
    "a digest in capitals",
    { layers: [{ ...plainLayer, descriptor: { digest: sha256(bytes).toUpperCase() } }] },
    refused("config", /layers\.0\.digest/),
  ),
  image(
    "a diff id of something else",
    { layers: [{ ...plainLayer, diffId: bad }] },
    refused("integrity", /decompressed: wanted digest sha256/),
  ),
  image(
    "the diff ids in another order",
    {
      layers: [
        { ...layer(member({ name: "a" })), diffId: sha256(bytes) },
        { ...plainLayer, diffId: sha256(layer(member({ name: "a" })).blob) },
      ],
    },
    refused("integrity", /decompressed: wanted digest/),
  ),
  image(
    "fewer diff ids than layers",
    {
      layers: [plainLayer, plainLayer],
      config: { rootfs: { type: "layers", diff_ids: [sha256(bytes)] } },
    },
    refused("config", /rootfs\.diff_ids: wanted 2, one for each layer, found 1/),
  ),
  image(
    "1,001 layers",
    { layers: Array.from({ length: 1001 }, () => plainLayer) },
    refused("config", /manifest: layers/),
  ),
  image(
    "a thousand times the same layer",
    { layers: Array.from({ length: 1000 }, () => plainLayer) },
    plainTree,
  ),
  image("no layers", { layers: [] }, tree()),
  changedLater(
    "a layer of other bytes",
    "layer",
    (path) => writeFileSync(path, Buffer.alloc(bytes.length)),
    refused("integrity", /wanted digest sha256/),
  ),
  changedLater(
    "a manifest of other bytes",
    "manifest",
    (path, size) => writeFileSync(path, Buffer.alloc(size, " ")),
    refused("integrity", /image manifest: wanted digest/),
  ),
  changedLater(
    "a config of other bytes",
    "config",
    (path, size) => writeFileSync(path, Buffer.alloc(size, " ")),
    refused("integrity", /image config: wanted digest/),
  ),
  changedLater(
    "a layer that is a folder",
    "layer",
    (path) => {
      rmAndMake(path)
    },
    refused("config", /wanted a regular file, found something else/),
  ),
  changedLater(
    "a layer that is a device",
    "layer",
    (path) => {
      rmSync(path)
      symlinkSync("/dev/zero", path)
    },
    refused("config", /wanted a regular file, found something else/),
  ),
  changedLater(
    "a layer that is a symlink to itself",
    "layer",
    (path) => {
      rmSync(path)
      symlinkSync(path, path)
    },
    refused("io", /ELOOP/),
  ),
]

function rmAndMake(path: string): void {
  rmSync(path)
  mkdirSync(path)
}

/** An image in order, of which one blob was exchanged afterwards. */
function changedLater(
  name: string,
  which: "layer" | "config" | "manifest",
  change: (path: string, size: number) => void,
  expected: HostileImage["expected"],
): HostileImage {
  const make = (directory: string): string => {
    const out = new RawLayout(directory)
    const config = out.config([plainLayer])
    const stored = out.layer(plainLayer)
    const manifest = out.json({ schemaVersion: 2, config, layers: [stored] }, manifestType)
    const chosen = { layer: stored, config, manifest }[which]
    const { digest, size } = chosen as { digest: string; size: number }
    change(join(directory, "blobs", "sha256", digest.slice(7)), size)
    return out.finish({ schemaVersion: 2, manifests: [manifest] })
  }
  return { name, make, expected }
}

const huge = `{"schemaVersion":2,"manifests":[],"x":"${"y".repeat(5 << 20)}"}`
const deep = (open: string, close: string): string => open.repeat(1e6) + close.repeat(1e6)
const named = (digest: string): Json => ({ mediaType: manifestType, digest, size: 2 })

export const documents: readonly HostileImage[] = [
  index(
    "no image",
    { schemaVersion: 2, manifests: [] },
    refused("missing", /wanted an image, found none/),
  ),
  index("JSON of 5 MiB", huge, refused("config", /wanted at most 4194304 bytes/)),
  index("arrays, a million deep", deep("[", "]"), refused("config", /image index/)),
  index(
    "objects, a million deep",
    `{"schemaVersion":2,"manifests":[],"x":${deep('{"a":', "}").replaceAll("}", "")}0${"}".repeat(1e6)}}`.slice(
      0,
      4 << 20,
    ),
    refused("config", /image index/),
  ),
  index("no JSON", "index", refused("config", /image index: wanted JSON, found something else/)),
  index("bytes that are no UTF-8", "\uD800", refused("config", /image index/)),
  index("null", "null", refused("config", /image index/)),
  index(
    "another schema version",
    { schemaVersion: 1, manifests: [] },
    refused("config", /schemaVersion/),
  ),
  index(
    "1,001 manifests",
    { schemaVersion: 2, manifests: Array.from({ length: 1001 }, () => named(noImage)) },
    refused("config", /manifests/),
  ),
  index(
    "a manifest that is not there",
    { schemaVersion: 2, manifests: [named(noImage)] },
    refused("missing", /image manifest: wanted blob/),
  ),
  index(
    "a manifest of another kind",
    { schemaVersion: 2, manifests: [{ ...named(noImage), mediaType: "text/plain" }] },
    refused("config", /wanted an image manifest, found media type text\/plain/),
  ),
  index(
    "escape sequences in a tag",
    {
      schemaVersion: 2,
      manifests: [1, 2].map((i) => ({
        ...named(noImage),
        annotations: { "org.opencontainers.image.ref.name": `\x1b]52;c;${i}\x07` },
      })),
    },
    refused("usage", /wanted one image, found 2/),
  ),
  index(
    "escape sequences in a platform",
    { schemaVersion: 2, manifests: [1] },
    refused("config", /manifests\.0/),
  ),
  {
    name: "an index in an index in an index in an index",
    make: (directory) => nested(directory, 4),
    expected: refused("config", /wanted at most 3 nested indexes, found more/),
  },
  { name: "three nested indexes", make: (directory) => nested(directory, 3), expected: plainTree },
  {
    name: "an index for other platforms",
    make: otherPlatforms,
    expected: refused(
      "missing",
      /wanted an image for linux\/amd64, found \\x1b\[31m\/mips, \?\/\?/,
    ),
  },
  image(
    "a layout of version 2",
    { layout: '{"imageLayoutVersion":"2.0.0"}' },
    refused("config", /wanted an OCI image layout of version 1, found version 2/),
  ),
  image("no layout version", { layout: "[]" }, refused("config", /found version none/)),
  image(
    "escape sequences as the layout's version",
    { layout: '{"imageLayoutVersion":"\\u001b[2J"}' },
    refused("config", /found version \\x1b\[2J/),
  ),
  image(
    "a manifest of 5 MiB",
    { manifest: { x: "y".repeat(5 << 20) } },
    refused("config", /image manifest: wanted at most 4194304 bytes/),
  ),
  image(
    "a config of 5 MiB",
    { config: { x: "y".repeat(5 << 20) } },
    refused("config", /image config: wanted at most 4194304 bytes/),
  ),
  image(
    "a config of a chart",
    {
      manifest: {
        config: { mediaType: "application/vnd.cncf.helm.config.v1+json", digest: noImage, size: 2 },
      },
    },
    refused("config", /wanted the config of a container image/),
  ),
  image(
    "a config that is not there",
    { manifest: { config: { mediaType: configType, digest: noImage, size: 2 } } },
    refused("missing", /image config: wanted blob/),
  ),
  image(
    "a config of other types",
    { config: { config: { Env: "A=b" } } },
    refused("config", /image config: config\.Env/),
  ),
  image(
    "a key of a megabyte that is wrong",
    { config: { config: { Labels: { ["k".repeat(1 << 20)]: 1 } } } },
    refused("config", /^.{0,600}$/s),
  ),
  image(
    "escape sequences in a key",
    { config: { config: { Labels: { "\x1b[2J": 1 } } } },
    refused("config", /Labels\.\\x1b\[2J/),
  ),
  image(
    "another type of rootfs",
    { config: { rootfs: { type: "base", diff_ids: [] } } },
    refused("config", /rootfs\.type/),
  ),
  image(
    "keys of every object",
    { config: { config: { Labels: JSON.parse('{"__proto__":"a","constructor":"b"}') as Json } } },
    plainTree,
  ),
]

function index(name: string, value: unknown, expected: HostileImage["expected"]): HostileImage {
  return { name, make: (directory) => new RawLayout(directory).finish(value), expected }
}

function nested(directory: string, depth: number): string {
  const out = new RawLayout(directory)
  const platform = { os: "linux", architecture: "amd64" }
  const manifest = {
    schemaVersion: 2,
    config: out.config([plainLayer]),
    layers: [out.layer(plainLayer)],
  }
  let entry: Json = { ...out.json(manifest, manifestType), platform }
  for (let i = 0; i < depth; i++)
    entry = { ...out.json({ schemaVersion: 2, manifests: [entry] }, indexType), platform }
  return out.finish({ schemaVersion: 2, manifests: [entry] })
}

function otherPlatforms(directory: string): string {
  const out = new RawLayout(directory)
  const one = { ...named(noImage), platform: { os: "\x1b[31m", architecture: "mips" } }
  const entry = out.json({ schemaVersion: 2, manifests: [one, named(noImage)] }, indexType)
  return out.finish({ schemaVersion: 2, manifests: [entry] })
}

/** A layer of 2^40 bytes that takes no room on the disk. */
export const sparseBlob: HostileImage = {
  name: "an index of 2^40 bytes that takes no room on the disk",
  make(directory) {
    const reference = new RawLayout(directory).finish("{}")
    truncateSync(join(directory, "index.json"), 2 ** 40)
    return reference
  },
  expected: refused("config", /wanted at most 4194304 bytes, found 1099511627776/),
}
