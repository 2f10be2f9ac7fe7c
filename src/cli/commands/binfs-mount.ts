import { resolve } from "node:path"
import { Command } from "commander"
import { mountAt, openShield } from "../../shield/index.ts"
import { binfsPlace } from "../binfs-place.ts"
import { incidentLine, serveForeground } from "../foreground.ts"
import type { Io } from "../io.ts"

/** `coffer binfs mount`: a binary filesystem, read-only; each block is verified when it is read from the disk. */
export function binfsMountCommand(io: Io): Command {
  return new Command("mount")
    .description("mount a binary filesystem read-only, in the foreground")
    .argument("<file>", "a sealed binary, or an image with its hash tree")
    .argument("<mountpoint>", "an empty directory")
    .option("--root-hash <hex>", "what the hash tree must have; default: the measured one")
    .addHelpText(
      "after",
      "\nPrints one line when it is ready; ends with SIGINT, SIGTERM or umount.\n\nExample:\n  coffer binfs mount app.binfs /mnt/app --root-hash $(cat app.root)",
    )
    .action(async (file: string, mountpoint: string, options: { rootHash?: string }) => {
      const [path, target] = [resolve(file), resolve(mountpoint)]
      const { binding, ...place } = binfsPlace(path, options.rootHash)
      if (binding === "own")
        io.warn("no --root-hash: the file is checked against its own hash tree only")
      const served = await openShield({ kind: "binfs", path, ...place }, (incident) =>
        io.warn(incidentLine(incident)),
      )
      await mountAt(served, target, { source: `coffer:${path}` })
      await serveForeground(served, target, io)
    })
}
