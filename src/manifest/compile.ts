import type { Machine } from "../elf/index.ts"
import { CofferError } from "../errors.ts"
import { defaultPattern, type ManifestDraft, manifestFormat, type Region } from "./measured.ts"
import type { RegionSource, ServiceSource } from "./source.ts"
import type { ResolvedUser } from "./user.ts"

/** What an image says where `coffer.yaml` says nothing. */
export interface ServiceDefaults {
  readonly name: string
  /** Entrypoint and command together; `argv[0]` as it is called. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly user: string
  readonly stopSignal: ManifestDraft["stopSignal"]
  readonly regions: readonly RegionSource[]
}

export interface CompileInput {
  readonly source: ServiceSource
  readonly defaults: ServiceDefaults
  /** Of the executable at this path. */
  readonly arch: (binary: string) => Machine
  /** Looks names up in the root filesystem. */
  readonly user: (spec: string) => ResolvedUser
  /** The absolute path of the executable that a name or a path means, by PATH of the service; refuses what is none. */
  readonly executable: (name: string, env: Readonly<Record<string, string>>) => string
  /** Digest of the image. */
  readonly image?: string
  /** Tags of image content that is measured as well, by path. */
  readonly tags?: Pick<ReadonlyMap<string, string>, "get">
}

/** `coffer.yaml` and the image's defaults as the measured manifest, but for what only the writer of the binary knows. */
export function compileManifest(input: CompileInput): ManifestDraft {
  const { source, defaults } = input
  const { service } = source
  const env = source.env.set ?? defaults.env
  const argv = argvOf(source, defaults)
  const binary = input.executable(service.binary ?? argv[0] ?? "", env)
  const user = input.user(String(service.user ?? defaults.user))
  const groups = [...new Set(service.groups)].toSorted((a, b) => a - b)
  const regions = (source.regions ?? defaults.regions)
    .filter(({ path, protection }) => !isDefault(path, protection))
    .map((region) => compileRegion(region, input.tags))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1))
  checkPlaces(regions)
  return {
    format: manifestFormat,
    arch: input.arch(binary),
    name: source.name ?? defaults.name,
    binary,
    argv,
    args: { allow: service.args.allow },
    cwd: service.cwd ?? defaults.cwd,
    user: { ...user, groups },
    env: {
      set: { ...env },
      allow: Object.fromEntries(
        Object.entries(source.env.allow).map(([name, pattern]) => [
          name,
          pattern ?? defaultPattern,
        ]),
      ),
    },
    exec: service.exec,
    stdin: service.stdin,
    readOnly: service.readOnly,
    debug: service.debug,
    stopSignal: service.stopSignal ?? defaults.stopSignal,
    regions,
    ...(source.cas === undefined ? {} : { cas: source.cas }),
    ...(input.image === undefined ? {} : { source: { image: input.image } }),
  }
}

function argvOf(source: ServiceSource, defaults: ServiceDefaults): string[] {
  const { argv, binary, args } = source.service
  if (argv !== undefined) {
    if (args.set !== undefined) throw wrong("service", "argv, or args.set", "both")
    return argv
  }
  const [program = "", ...rest] = defaults.argv
  const found = [binary ?? program, ...(args.set ?? (binary === undefined ? rest : []))]
  if (found[0] === "") throw wrong("service", "a binary, here or in the image", "none")
  return found
}

function isDefault(path: string, protection: string): boolean {
  if (path !== "/") return false
  if (protection !== "measured") throw wrong("regions: /", "protection: measured", protection)
  return true
}

function compileRegion(region: RegionSource, tags: CompileInput["tags"]): Region {
  switch (region.protection) {
    case "measured":
      allowOnly(region, [])
      return { kind: "measured", path: region.path }
    case "none":
      allowOnly(region, ["source", "format"])
      if (region.source !== "host") throw wrong(`regions: ${region.path}`, "source: host", "none")
      return { kind: "host", path: region.path, format: hostFormat(region) }
    case "authenticated":
    case "encrypted":
      return region.lifetime === "persistent"
        ? volumeRegion(region, region.protection)
        : ephemeralRegion(region, region.protection, tags)
  }
}

const kernelMounts = ["/proc", "/sys", "/dev"]

/** Regions may come from the image's volumes: none of them takes the place of what the kernel says, or of another. */
function checkPlaces(regions: readonly Region[]): void {
  const volumes = new Map<string, string>()
  for (const region of regions) {
    const { kind, path } = region
    const mount = kernelMounts.find((one) => path === one || path.startsWith(`${one}/`))
    if (mount !== undefined && kind !== "measured")
      throw wrong(`regions: ${path}`, `no region in ${mount}, which the kernel fills`, kind)
    if (kind !== "volume") continue
    const other = volumes.get(region.volume)
    if (other !== undefined)
      throw wrong(`regions: ${path}`, `another volume than that of ${other}`, region.volume)
    volumes.set(region.volume, path)
  }
}

type Sealed = "authenticated" | "encrypted"

function volumeRegion(region: RegionSource, protection: Sealed): Region {
  allowOnly(region, ["lifetime", "volume", "seed", "exec"])
  const { path } = region
  const volume = region.volume ?? nameOfPath(path)
  return {
    kind: "volume",
    path,
    protection,
    volume,
    exec: region.exec ?? false,
    seed: region.seed === "image",
  }
}

/** Without a word about its content, a region with a size begins empty, and another one with the image's files. */
function ephemeralRegion(
  region: RegionSource,
  protection: Sealed,
  tags: CompileInput["tags"],
): Region {
  const { path } = region
  const exec = region.exec ?? false
  if ((region.content ?? (region.size === undefined ? "image" : "empty")) === "empty") {
    allowOnly(region, ["lifetime", "content", "size", "exec"])
    if (protection === "authenticated")
      throw wrong(`regions: ${path}`, "protection: encrypted for what begins empty", protection)
    return {
      kind: "scratch",
      path,
      exec,
      ...(region.size === undefined ? {} : { size: region.size }),
    }
  }
  allowOnly(region, ["lifetime", "content", "exec", "measured"])
  const tag = tags?.get(path)
  if (region.measured === true && tag === undefined)
    throw wrong(`regions: ${path}`, "the tag of its store, which coffer protect makes", "none")
  const store = nameOfPath(path)
  return {
    kind: "image",
    path,
    protection,
    store,
    exec,
    ...(region.measured === true && tag !== undefined ? { tag } : {}),
  }
}

const typedFiles = ["resolv.conf", "hosts", "hostname"] as const

function hostFormat(region: RegionSource): (typeof typedFiles)[number] | "file" | "directory" {
  const typed = typedFiles.find((name) => region.path === `/etc/${name}`)
  return region.format ?? typed ?? "file"
}

/** `/var/lib/app` becomes `var-lib-app`: the name of a volume or a store when none is given. */
function nameOfPath(path: string): string {
  const name = path
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, "-")
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "")
    .slice(0, 63)
  if (name !== "") return name.replace(/[^a-z0-9]+$/, "")
  throw wrong(`regions: ${path}`, "volume: NAME, for a path that gives none", "none")
}

function allowOnly(region: RegionSource, fields: readonly string[]): void {
  const known = ["path", "protection", ...fields]
  for (const [field, value] of Object.entries(region))
    if (value !== undefined && !known.includes(field))
      throw wrong(
        `regions: ${region.path}`,
        `no ${field} with protection ${region.protection}`,
        JSON.stringify(value),
      )
}

function wrong(field: string, want: string, have: string): CofferError {
  return new CofferError("config", `${field}: wanted ${want}, found ${have}`, {
    reason: "manifest-document",
    facts: { field },
  })
}
