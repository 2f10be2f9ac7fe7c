import { createHash } from "node:crypto"
import { z } from "zod"
import { type ByteString, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { type TarSource, treeFromTar } from "../tar/index.ts"
import type { Content, DirectoryNode, TreeNode } from "../tree/index.ts"
import { type BlobStore, readSmall } from "./blobs.ts"
import { type Descriptor, parseImageConfig, shown } from "./documents.ts"
import { checkLayoutVersion, openIndexed, type SourceImage, type Wanted } from "./layout.ts"
import { compressionOfBytes } from "./spool.ts"

/**
 * Opens an image of an archive: an OCI layout in a tar, or what `docker save` and `podman save` write. `close` is called
 * when the image is closed, or when this fails.
 */
export function openArchive(tar: TarSource, wanted: Wanted, close: () => void): SourceImage {
  try {
    const tree = treeFromTar(tar, { dialect: "layer" })
    const blobs = archiveBlobs(tree, close)
    const index = fileAt(tree, "index.json")
    if (index !== undefined) {
      checkLayoutVersion(readSmall(need(tree, "oci-layout", wanted), "oci-layout"), wanted.what)
      return openIndexed(blobs, readSmall(index, `${wanted.what}: index.json`), wanted)
    }
    return openDockerArchive(tree, wanted, close)
  } catch (error) {
    close()
    throw error
  }
}

function archiveBlobs(tree: DirectoryNode, close: () => void): BlobStore {
  return { find: (digest) => fileAt(tree, `blobs/${digest.replace(":", "/")}`), close }
}

/** The file at a path; symlinks (old docker archives share layers by them) are followed a few times, within the archive. */
function fileAt(tree: DirectoryNode, path: string): Content | undefined {
  let way = path.split("/")
  for (let hops = 0; hops < 4; hops += 1) {
    const node = nodeAt(tree, way)
    if (node?.kind === "file") return node.content
    if (node?.kind !== "symlink") return undefined
    way = resolve([...way.slice(0, -1), ...node.target.split("/")])
  }
  return undefined
}

function resolve(names: readonly string[]): string[] {
  const way: string[] = []
  for (const name of names) {
    if (name === "..") way.pop()
    else if (name !== "" && name !== ".") way.push(name)
  }
  return way
}

function nodeAt(tree: DirectoryNode, way: readonly string[]): TreeNode | undefined {
  let node: TreeNode | undefined = tree
  for (const name of way) {
    node = node?.kind === "directory" ? node.children.get(name as ByteString) : undefined
  }
  return node
}

function need(tree: DirectoryNode, path: string, { what }: Wanted): Content {
  const found = fileAt(tree, utf8OfByteString(path))
  if (found !== undefined) return found
  throw new CofferError(
    "missing",
    `${what}: wanted an image archive, found no ${shown(path)} in it`,
    {
      hint: "make one with: podman save --format docker-archive, docker save, or skopeo copy",
    },
  )
}

const dockerManifest = z
  .array(
    z.object({
      Config: z.string().max(4096),
      RepoTags: z.array(z.string()).nullish(),
      Layers: z.array(z.string().max(4096)).max(1000),
    }),
  )
  .max(1000)

type DockerImage = z.infer<typeof dockerManifest>[number]

function openDockerArchive(tree: DirectoryNode, wanted: Wanted, close: () => void): SourceImage {
  const listed = parseDockerManifest(
    readSmall(need(tree, "manifest.json", wanted), "manifest.json"),
    wanted,
  )
  const image = chooseByName(listed, wanted)
  const configBytes = readSmall(need(tree, image.Config, wanted), "image config")
  const config = parseImageConfig(configBytes)
  const diffIds = config.rootfs.diff_ids
  if (diffIds.length !== image.Layers.length) {
    throw new CofferError(
      "config",
      `${wanted.what}: wanted ${diffIds.length} layers, as the config says, found ${image.Layers.length}`,
    )
  }
  // Such an archive has digests of the decompressed layers only (the diff ids), and those are checked when they are spooled.
  const stored = new Map<string, Content>()
  const layers = image.Layers.map((path, i) => {
    const content = need(tree, path, wanted)
    const name = `archive:${image.Layers.indexOf(path)}`
    stored.set(name, content)
    return { blob: layerDescriptor(content, name), diffId: diffIds[i] ?? "" }
  })
  const configBlob = descriptorOf("application/vnd.docker.container.image.v1+json", configBytes)
  const manifest = {
    schemaVersion: 2 as const,
    config: configBlob,
    layers: layers.map(({ blob }) => blob),
  }
  const blobs = { find: (digest: string) => stored.get(digest), close }
  const tag = wanted.tag ?? image.RepoTags?.[0]
  return { digest: configBlob.digest, tag, manifest, config, layers, blobs, close }
}

function parseDockerManifest(bytes: Uint8Array, { what }: Wanted): readonly DockerImage[] {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    value = undefined
  }
  const parsed = dockerManifest.safeParse(value)
  if (parsed.success) return parsed.data
  throw new CofferError(
    "config",
    `${what}: manifest.json: wanted a list of images, found something else`,
  )
}

function chooseByName(all: readonly DockerImage[], { what, tag }: Wanted): DockerImage {
  const named =
    tag === undefined ? all : all.filter((image) => image.RepoTags?.includes(tag) === true)
  const [first, ...more] = named
  const names = shown(all.flatMap((image) => image.RepoTags ?? []).join(", "))
  if (first === undefined) {
    throw new CofferError(
      "missing",
      `${what}: wanted the image ${tag ?? ""}, found ${names === "" ? "none" : names}`,
    )
  }
  if (more.length > 0) {
    throw new CofferError("usage", `${what}: wanted one image, found ${named.length}`, {
      hint: `add one of these after a colon: ${names}`,
    })
  }
  return first
}

function descriptorOf(mediaType: string, bytes: Uint8Array): Descriptor {
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`
  return { mediaType, digest, size: bytes.length }
}

function layerDescriptor(content: Content, digest: string): Descriptor {
  const head = new Uint8Array(Math.min(4, content.size))
  content.read(head, 0)
  const compression = compressionOfBytes(head)
  const suffix = compression === "plain" ? "" : `+${compression}`
  return {
    mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
    digest,
    size: content.size,
  }
}
