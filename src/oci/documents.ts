import { z } from "zod"
import { displayName, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"

/** The media types that we read. What we write is OCI only. */
export const mediaTypes = {
  index: [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
  ],
  manifest: [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
  ],
  config: [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
  ],
  layerPlain: [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
  ],
  layerGzip: [
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  ],
  layerZstd: [
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
  ],
} as const

const digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, "wanted sha256: and 64 lower-case hex digits")
const size = z.int().min(0)
const strings = z.record(z.string(), z.string())
const mediaType = z.string().max(255)

const platform = z.object({
  architecture: z.string(),
  os: z.string(),
  variant: z.string().optional(),
})

const descriptor = z.object({
  mediaType,
  digest,
  size,
  annotations: strings.optional(),
  platform: platform.optional(),
})

const index = z.object({
  schemaVersion: z.literal(2),
  mediaType: mediaType.optional(),
  manifests: z.array(descriptor).max(1000),
  annotations: strings.optional(),
})

const manifest = z.object({
  schemaVersion: z.literal(2),
  mediaType: mediaType.optional(),
  artifactType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor).max(1000),
  annotations: strings.optional(),
})

const empty = z.object({})
const stringList = z.array(z.string()).nullish()

const config = z.object({
  created: z.string().optional(),
  architecture: z.string(),
  os: z.string(),
  variant: z.string().optional(),
  config: z
    .object({
      User: z.string().optional(),
      ExposedPorts: z.record(z.string(), empty).nullish(),
      Env: stringList,
      Entrypoint: stringList,
      Cmd: stringList,
      Volumes: z.record(z.string(), empty).nullish(),
      WorkingDir: z.string().optional(),
      Labels: strings.nullish(),
      StopSignal: z.string().optional(),
      Healthcheck: z.looseObject({ Test: stringList }).nullish(),
    })
    .optional(),
  rootfs: z.object({ type: z.literal("layers"), diff_ids: z.array(digest).max(1000) }),
})

export type Descriptor = z.infer<typeof descriptor>
export type ImageIndex = z.infer<typeof index>
export type ImageManifest = z.infer<typeof manifest>
export type ImageConfig = z.infer<typeof config>

/** Words of the adversary for a message: no control characters for the terminal, no megabytes. */
export function shown(text: string): string {
  const name = displayName(utf8OfByteString(text.slice(0, maxShown)))
  return text.length > maxShown ? `${name}…` : name
}

const maxShown = 200

// The document is the adversary's: its digest was checked, but whoever made the image chose its words.
function parse<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new CofferError("config", `${what}: wanted JSON, found something else`, { cause })
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const path =
    issue === undefined || issue.path.length === 0 ? "document" : shown(issue.path.join("."))
  throw new CofferError("config", `${what}: ${path}: ${shown(issue?.message ?? "not valid")}`, {
    hint: "the image is damaged or of another kind: only container images of the OCI and Docker formats can be read",
  })
}

export function parseImageIndex(bytes: Uint8Array): ImageIndex {
  return parse(index, bytes, "image index")
}

export function parseImageManifest(bytes: Uint8Array): ImageManifest {
  const found = parse(manifest, bytes, "image manifest")
  if (!(mediaTypes.config as readonly string[]).includes(found.config.mediaType)) {
    throw new CofferError(
      "config",
      `image manifest: wanted the config of a container image, found media type ${shown(found.config.mediaType)}`,
      { hint: "an artifact that is no container image (a chart, a signature) cannot be protected" },
    )
  }
  return found
}

export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  return parse(config, bytes, "image config")
}
