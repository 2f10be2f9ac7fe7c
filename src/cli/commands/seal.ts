import { basename } from "node:path"
import { Command, Option } from "commander"
import { writeBinfs } from "../../binfs/index.ts"
import { toHex } from "../../bytes/index.ts"
import { type Machine, machines } from "../../elf/index.ts"
import { CofferError } from "../../errors.ts"
import {
  compileManifest,
  manifestWarnings,
  parseCofferYaml,
  resolveUser,
  type ServiceDefaults,
  type ServiceSource,
} from "../../manifest/index.ts"
import {
  archOf,
  findExecutable,
  rootTree,
  textFile,
  type WrittenBinary,
  writeSealed,
} from "../../seal/index.ts"
import type { DirectoryNode, OnProgress } from "../../tree/index.ts"
import type { Io } from "../io.ts"
import { formatSize, progressBar } from "../progress.ts"
import { readText } from "../read-text.ts"
import { withTreeSource } from "../tree-source.ts"

interface Options {
  readonly manifest: string
  readonly arch?: Machine
  readonly json?: true
}

/** `coffer seal SRC OUT`: from a root filesystem to a sealed binary, without an image. */
export function sealCommand(io: Io): Command {
  return new Command("seal")
    .description("make a sealed binary from a root filesystem")
    .argument(
      "<src>",
      "directory, tar (plain, gzip, zstd), binary filesystem, or another sealed binary",
    )
    .argument("<out>", "the sealed binary; replaced when it is there")
    .requiredOption("-f, --manifest <file>", "coffer.yaml: service, env, regions (YAML or JSON)")
    .addOption(
      new Option("--arch <arch>", "architecture; default: of the service's executable").choices(
        machines,
      ),
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
The same files and manifest give the same bytes on every machine, whatever OUT is called.

Example:
  printf 'version: 1\\nservice: { argv: [/bin/hello] }\\n' > coffer.yaml
  coffer seal rootfs/ hello.sealed --manifest coffer.yaml`,
    )
    .action(async (src: string, out: string, options: Options) => {
      const source = parseCofferYaml(readText(options.manifest), options.manifest)
      const bar = progressBar(io, "sealing")
      try {
        const written = await withTreeSource(src, bar.update, (root) =>
          seal(root, out, source, options.arch, bar.update),
        )
        bar.end()
        report(out, written, options, io)
      } finally {
        bar.end()
      }
    })
}

function report(out: string, written: WrittenBinary, options: Options, io: Io): void {
  for (const warning of manifestWarnings(written.manifest)) io.warn(`warning: ${warning}`)
  if (options.json === true) {
    io.print(JSON.stringify(asJson(out, written)))
    return
  }
  io.print(`${out}: ${formatSize(written.size)}`)
  io.print(`MrEnclave ${toHex(written.mrEnclave)}`)
  io.warn(`next: coffer sign ${out} --key KEY.pem`)
}

function seal(
  root: DirectoryNode,
  out: string,
  source: ServiceSource,
  wantedArch: Machine | undefined,
  onProgress: OnProgress,
): WrittenBinary {
  const draft = compileManifest({
    source,
    arch: (binary) => wantedArch ?? detectedArch(root, binary),
    defaults: defaultsFor(source),
    user: (spec) => resolveUser(spec, textFile(root, "/etc/passwd"), textFile(root, "/etc/group")),
    executable: (name, env) => findExecutable(root, name, env),
  })
  const stored = draft.regions.find(({ kind }) => kind === "image")
  if (stored !== undefined)
    throw new CofferError(
      "config",
      `regions: ${stored.path}: wanted an image beside whose binary its content can lie, found a binary alone`,
      { hint: "coffer protect makes an image; or leave the files measured" },
    )
  const tree = rootTree(root, draft.regions)
  return writeSealed(out, draft, (fd, offset) => writeBinfs(tree, fd, offset, { onProgress }))
}

function detectedArch(root: DirectoryNode, binary: string): Machine {
  const arch = archOf(root, binary)
  if (arch !== undefined) return arch
  throw new CofferError(
    "config",
    `${binary}: wanted an executable for ${machines.join(" or ")}, found another`,
    {
      hint: `say which it is: --arch ${machines.join("|")}`,
    },
  )
}

/** What an image would say: here there is none. The name is that of the program: the name of OUT must not be measured. */
function defaultsFor({ service }: ServiceSource): ServiceDefaults {
  const name = basename(service.binary ?? service.argv?.[0] ?? "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, "-")
    .slice(0, 63)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "")
  return {
    name: name === "" ? "service" : name,
    argv: [],
    env: {},
    cwd: "/",
    user: "0:0",
    stopSignal: "SIGTERM",
    regions: [],
  }
}

function asJson(out: string, { manifest, mrEnclave, size }: WrittenBinary) {
  return { file: out, size, mrEnclave: toHex(mrEnclave), manifest }
}
