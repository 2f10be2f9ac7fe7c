import { closeSync, openSync, rmSync, statSync, unlinkSync } from "node:fs"
import { join, resolve } from "node:path"
import { Command } from "commander"
import { utf8OfByteString } from "../../bytes/index.ts"
import type { AnchorTarget } from "../../cas/index.ts"
import { CofferError } from "../../errors.ts"
import { loadNodeConfig, type NodeConfig } from "../../node/index.ts"
import { imageTree, openImage, parseImageReference } from "../../oci/index.ts"
import { storesOf } from "../../protect/index.ts"
import {
  directoriesOf,
  type MeasuredFile,
  openSealed,
  RegionStores,
  type Running,
  runAlone,
  withStores,
} from "../../runtime/index.ts"
import { sealedPath, writeAll } from "../../seal/index.ts"
import { makeScratch, nodeConfigPath, scratchError } from "../../sys/index.ts"
import { lookup, readPieces } from "../../tree/index.ts"
import { dataDir } from "../cas-options.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { report } from "../report.ts"
import { enterUserNamespace } from "../user-namespace.ts"
import { readKeyFile } from "../volume-source.ts"

interface Options {
  readonly volume?: ReadonlyMap<string, string>
  readonly policy?: string
  readonly cas?: string
  readonly casKey?: string
  readonly nodeConfig: string
  readonly accept?: true
  readonly keys?: string
  readonly instance?: number
  readonly quiet?: true
}

/** What `coffer run` ends with when the fault is not the service's. */
const ourFailure = 125

/** `coffer run`: a protected image, or a sealed binary, with no container engine. */
export function runCommand(io: Io): Command {
  return new Command("run")
    .description(
      "run the service of a protected image or a sealed binary, without a container engine",
    )
    .argument(
      "<image>",
      "oci:DIR[:TAG], oci-archive:FILE, docker://NAME, a local name, or a sealed binary's file",
    )
    .argument("[args...]", "after --: arguments that the measured manifest allows")
    .option(
      "--volume <name=dir>",
      "directory of a volume that the manifest names; may be repeated",
      addVolume,
    )
    .option("--policy <name/service>", "policy of the CAS; default: the service's own name")
    .option(
      "--cas <url>",
      "CAS to attest to; default: the node's, else an embedded one in $XDG_DATA_HOME/coffer",
    )
    .option("--cas-key <hex>", "public key of that CAS, when neither manifest nor node names it")
    .option("--node-config <file>", "configuration of this machine's node", nodeConfigPath)
    .option(
      "--accept",
      "with the embedded CAS: let this image have the volumes of the one before it",
    )
    .option(
      "--keys <file>",
      "with the embedded CAS: key of the image's encrypted content, once; it is kept there",
    )
    .option(
      "--instance <n>",
      "which of the policy's instances this is, for replicas with a volume each",
      wholeNumber(0, 9999),
    )
    .option("--quiet", "say nothing but errors")
    .addHelpText(
      "after",
      `
Ends with the service's own exit status; 125 when Coffer could not start it.
The service shares the host's network. Signals go to the service.
An ordinary user's service runs in a user namespace of theirs.

Example:
  coffer run localhost/shop:1-protected --volume data=/srv/shop -- --port=8080`,
    )
    .action(async (image: string, args: string[], options: Options) => {
      try {
        io.exitCode = await run(image, args, options, io)
      } catch (error) {
        report(error, io, false)
        io.exitCode = ourFailure
      }
    })
}

function addVolume(
  value: string,
  volumes: ReadonlyMap<string, string> = new Map(),
): Map<string, string> {
  const [, name = "", directory = ""] = /^([^=]+)=(.+)$/.exec(value) ?? []
  if (name === "") throw new CofferError("usage", `--volume: wanted NAME=DIR, found ${value}`)
  return new Map([...volumes, [name, resolve(directory)]])
}

async function run(image: string, args: readonly string[], options: Options, io: Io) {
  const { base } = directoriesOf(io.env)
  enterUserNamespace(io)
  const file = await openService(image)
  const node = loadNodeConfig(options.nodeConfig)
  let running: Running | undefined
  const forward = (name: NodeJS.Signals) => running?.signal(name)
  const terminal = process.stdin.isTTY && process.stdout.isTTY
  for (const name of forwarded) process.on(name, forward)
  try {
    return await runAlone({
      file,
      args,
      base,
      env: io.env,
      volumes: options.volume ?? new Map(),
      cas: {
        target: casTarget(options, node?.cas, file.sealed.manifest.cas?.publicKey, io),
        node,
        policy: options.policy,
        accept: options.accept === true,
        instance: options.instance,
        imageKey: options.keys === undefined ? undefined : readKeyFile(options.keys),
      },
      terminal,
      onIncident: (incident) => io.warn(JSON.stringify({ incident })),
      onStart(started) {
        running = started
        if (options.quiet === true) return
        const { name, debug } = file.sealed.manifest
        const { platformType } = started
        const platform = platformType === undefined ? "" : `, platform ${platformType}`
        io.warn(
          `coffer: ${name}, MrEnclave ${started.mrEnclave}${platform}${debug ? ", debug" : ""}`,
        )
        for (const what of started.reported) io.warn(`coffer: ${what}`)
      },
    })
  } finally {
    for (const name of forwarded) process.off(name, forward)
    file.close()
  }
}

function casTarget(
  options: Options,
  ofNode: NodeConfig["cas"],
  measured: string | undefined,
  io: Io,
): AnchorTarget {
  const url = options.cas ?? ofNode?.url
  if (url === undefined) {
    return { type: "embedded", dir: join(dataDir(io), "cas") }
  }
  const known = ofNode?.url === url ? ofNode.key : undefined
  const casKey = measured ?? known ?? options.casKey
  if (casKey === undefined)
    throw new CofferError("usage", "--cas: wanted the CAS's public key, found none", {
      hint: "put it under cas.publicKey in coffer.yaml, where it is measured, or give --cas-key",
    })
  return { type: "https", url, casKey }
}

const forwarded = [
  "SIGTERM",
  "SIGINT",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
  "SIGCONT",
] as const

/** A sealed binary's file as it is; the one in an image as an unnamed copy. */
async function openService(image: string): Promise<MeasuredFile> {
  if (isFile(image)) return openSealed(image)
  const source = await openImage(parseImageReference(image), {
    platform: { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" },
    input: process.stdin,
  })
  try {
    const tree = await imageTree(source, () => undefined, { inPlace: true })
    try {
      const node = lookup(tree.root, utf8OfByteString(sealedPath))
      if (node?.kind !== "file")
        throw new CofferError(
          "refused",
          `${image}: wanted a protected image, found one that is not`,
          {
            reason: "not-protected",
            hint: `coffer protect ${image} NAME, and run that one`,
          },
        )
      const binary = copied(node.content)
      return withStores(binary, () => RegionStores.ofImage(storesOf(tree.root)))
    } finally {
      tree.close()
    }
  } finally {
    source.close()
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function writePrivate(path: string, content: Parameters<typeof readPieces>[0]): void {
  try {
    const fd = openSync(path, "wx", 0o600)
    try {
      for (const { bytes, position } of readPieces(content, { offset: 0, size: content.size }))
        writeAll(fd, bytes, position)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw scratchError(error, "the sealed binary: temporary file")
  }
}

function copied(content: Parameters<typeof readPieces>[0]): MeasuredFile {
  const directory = makeScratch("coffer-run-")
  const path = join(directory, "service")
  try {
    writePrivate(path, content)
    const file = openSealed(path)
    unlinkSync(path)
    return file
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
