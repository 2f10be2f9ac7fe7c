import { resolve } from "node:path"
import { Command } from "commander"
import { CofferError } from "../../errors.ts"
import { openFile } from "../../seal/index.ts"
import { type Incident, mountAt, openShield } from "../../shield/index.ts"
import { type BinfsPlace, binfsPlace } from "../binfs-place.ts"
import { named, slice } from "../binfs-source.ts"
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
      "\nPrints one line when it is ready; ends with SIGINT, SIGTERM or umount.\n\nExample:\n  coffer binfs create app/ app.binfs      # prints the root hash\n  coffer binfs mount app.binfs /mnt/app --root-hash HEX",
    )
    .action(async (file: string, mountpoint: string, options: { rootHash?: string }) => {
      const [path, target] = [resolve(file), resolve(mountpoint)]
      const { bound, ...place } = binfsPlace(path, options.rootHash)
      if (!bound) io.warn("no --root-hash: the file is checked against its own hash tree only")
      const served = await openShield({ kind: "binfs", path, ...place }, (incident) =>
        io.warn(incidentLine(withOwner(incident, path, place))),
      )
      await mountAt(served, target, { source: `coffer:${path}` })
      await serveForeground(served, target, io)
    })
}

/** The incident with the path of the file that the damaged block belongs to, where that can be told. */
function withOwner(incident: Incident, path: string, place: Omit<BinfsPlace, "bound">): Incident {
  const { code, message, facts, reason } = incident
  if (reason !== "verity-data-block") return incident
  const file = openFile(path)
  try {
    const error = new CofferError(code, message, { facts, reason })
    const found = named(error, slice(file, place.dataOffset, place.dataSize))
    return found instanceof CofferError
      ? { code, message: found.message, facts: found.facts, reason }
      : incident
  } finally {
    file.close()
  }
}
