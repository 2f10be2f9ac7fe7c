import { resolve } from "node:path"
import { Command, Option } from "commander"
import { mountAt, openShield } from "../../shield/index.ts"
import { incidentLine, serveForeground } from "../foreground.ts"
import type { Io } from "../io.ts"
import { freshnessOf, readKeyFile, type VolumeSource } from "../volume-source.ts"

/** `coffer volume mount`, and what else looks into a volume's filesystem. */
export function volumeFileCommands(io: Io): Command[] {
  return [mountCommand(io)]
}

interface MountOptions extends VolumeSource {
  readonly readOnly?: true
}

function mountCommand(io: Io): Command {
  return new Command("mount")
    .description("mount a volume, in the foreground")
    .argument("<dir>", "the volume's directory")
    .argument("<mountpoint>", "an empty directory")
    .option("--key-file <file>", "volume key: 32 raw bytes or 64 hex digits")
    .option("--pin <file>", "file that keeps the volume's newest state, on a disk that you trust")
    .addOption(
      new Option("--pin-mode <mode>", "when the pin moves: with each fsync, or within a second")
        .choices(["strict", "periodic"])
        .default("strict"),
    )
    .option("--read-only", "serve the pinned state, and change nothing")
    .addHelpText(
      "after",
      "\nPrints one line when it is ready; ends, and commits, with SIGINT, SIGTERM or umount.\n\nExample:\n  coffer volume mount data /mnt/data --key-file data.key --pin ~/data.pin",
    )
    .action(async (directory: string, mountpoint: string, options: MountOptions) => {
      const target = resolve(mountpoint)
      const key = options.keyFile === undefined ? undefined : readKeyFile(options.keyFile)
      const readOnly = options.readOnly === true || key === undefined
      if (options.pin === undefined)
        io.warn("no --pin: an older state of the volume would not be noticed")
      const served = await openShield(
        {
          kind: "volume",
          directory: resolve(directory),
          key,
          readOnly,
          freshness: freshnessOf(options),
          root: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mode: 0o755 },
          ...(options.pin === undefined ? {} : { pin: resolve(options.pin) }),
        },
        (incident) => io.warn(incidentLine(incident)),
      )
      await mountAt(served, target, { source: `coffer:${resolve(directory)}` })
      await serveForeground(served, target, io)
    })
}
