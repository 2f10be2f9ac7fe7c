import { setTimeout } from "node:timers/promises"
import { Command, Option } from "commander"
import { displayName, toHex } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import {
  type Affected,
  createStore,
  type Finding,
  NodeDisk,
  PinFile,
  type Protection,
  requestRekey,
  type StoreInfo,
  type VerifyReport,
  verifyVolume,
} from "../../volume/index.ts"
import type { Io } from "../io.ts"
import { formatSize, progressBar } from "../progress.ts"
import { openVolumeForReading, readKeyFile, type VolumeSource } from "../volume-source.ts"
import { volumeCasCommands } from "./volume-cas.ts"
import { volumeFileCommands } from "./volume-fs.ts"

interface Json {
  readonly json?: true
}

/** `coffer volume …`: what concerns the store. The filesystem's own verbs are in volume-fs.ts. */
export function volumeCommand(io: Io): Command {
  const command = new Command("volume").description(
    "volumes: encrypted, authenticated, fresh directories",
  )
  command.addCommand(createCommand(io))
  command.addCommand(statCommand(io))
  command.addCommand(verifyCommand(io))
  command.addCommand(rekeyCommand(io))
  for (const other of volumeFileCommands(io)) command.addCommand(other)
  for (const other of volumeCasCommands(io)) command.addCommand(other)
  return command
}

/** The options that name a volume; `keyless`: the key may be missing. */
function source(command: Command, keyless: boolean): Command {
  const key = "volume key: 32 raw bytes or 64 hex digits"
  const pin = "file that keeps the volume's newest state, on a disk that you trust"
  if (keyless) command.option("--key-file <file>", key)
  else command.requiredOption("--key-file <file>", key)
  return command.option("--pin <file>", pin)
}

function createCommand(io: Io): Command {
  return source(new Command("create"), false)
    .description("make a new, empty volume")
    .argument("<dir>", "new or empty directory")
    .addOption(
      new Option("--protection <kind>", "authenticated: readable by all, changeable with the key")
        .choices(["encrypted", "authenticated"])
        .default("encrypted"),
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  coffer keygen --volume data.key\n  coffer volume create data --key-file data.key --pin ~/data.pin",
    )
    .action((directory: string, options: VolumeSource & Json & { protection: Protection }) => {
      const key = readKeyFile(options.keyFile ?? "")
      const disk = new NodeDisk(directory)
      const anchor = options.pin === undefined ? undefined : PinFile.create(options.pin)
      const base = { disk, key, protection: options.protection }
      const { store, info } = createStore(anchor === undefined ? base : { ...base, anchor })
      store.close()
      anchor?.close()
      const pinned = options.pin === undefined ? "" : ` --pin ${options.pin}`
      if (options.json === true) io.print(JSON.stringify(infoJson(info)))
      else {
        io.print(`${directory}: ${info.protection} volume ${toHex(info.volumeId)}`)
        io.warn(
          `next: coffer volume mount ${directory} MOUNTPOINT --key-file ${options.keyFile ?? ""}${pinned}`,
        )
      }
    })
}

function infoJson(info: StoreInfo) {
  const { volumeId, tag, ...rest } = info
  return { volumeId: toHex(volumeId), tag: toHex(tag), ...rest }
}

function statCommand(io: Io): Command {
  return source(new Command("stat"), true)
    .description("show what a volume is, and its state")
    .argument("<dir>", "the volume's directory")
    .option("--json", "print one JSON document")
    .action((directory: string, options: VolumeSource & Json) => {
      const { store, info } = openVolumeForReading(directory, options)
      const segments = store.segments()
      const size = segments.reduce((sum, segment) => sum + segment.size, 0)
      store.close()
      const verified = options.keyFile !== undefined || options.pin !== undefined
      const facts = {
        ...infoJson(info),
        segments: segments.length,
        size,
        freshness: options.pin === undefined ? "not checked: no --pin" : "at the pinned state",
        authenticity: verified ? "verified" : "not verified: no key and no pin",
      }
      if (options.json === true) io.print(JSON.stringify(facts))
      else {
        const shown = { ...facts, size: formatSize(size) }
        for (const [name, value] of Object.entries(shown)) io.print(`${name.padEnd(14)} ${value}`)
      }
    })
}

function verifyCommand(io: Io): Command {
  return source(new Command("verify"), false)
    .description("check every byte of a volume")
    .argument("<dir>", "the volume's directory")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExit code: 0 whole, 3 damaged (each damage is listed), 4 older than the pin, 1 whole but wrongly counted (a fault of ours).",
    )
    .action((directory: string, options: VolumeSource & Json) => {
      const bar = progressBar(io, "verify")
      let report: VerifyReport
      try {
        const key = readKeyFile(options.keyFile ?? "")
        const { pin } = options
        report = verifyVolume({ directory, key, ...(pin === undefined ? {} : { pin }) }, bar.update)
      } finally {
        bar.end()
      }
      const { info, findings, miscount } = report
      const affected = report.affected.map((file) => ({ ...file, path: displayName(file.path) }))
      const whole = findings.every(({ what }) => what !== "damage")
      if (options.json === true)
        io.print(JSON.stringify({ ...infoJson(info), whole, affected, findings, miscount }))
      else {
        for (const finding of findings) io.print(findingLine(finding))
        for (const file of affected) io.print(affectedLine(file))
        if (whole) io.print(`${directory}: whole at commit ${info.sequence}`)
      }
      if (!whole) io.exitCode = 3
      else if (miscount !== undefined) {
        const { segment, wanted, found } = miscount
        io.warn(`segment ${segment}: wanted ${wanted} live bytes, found a count of ${found}`)
        io.warn("  hint: no data is damaged; `coffer volume compact` counts them again")
        io.exitCode = 1
      }
    })
}

function affectedLine({
  path,
  what,
  offset,
  size,
  attack,
}: Omit<Affected, "path"> & { readonly path: string }): string {
  if (what === "metadata") return `${path}: cannot be read (${attack})`
  return `${path}: ${size} bytes from ${offset} cannot be read (${attack})`
}

function findingLine(finding: Finding): string {
  const { file, offset, size } = finding
  const where = `${file}: ${size} bytes at ${offset}`
  if (finding.what === "dead") return `${where}: dead, nothing reads them`
  return `${where}: ${finding.attack}${finding.kind === undefined ? "" : ` (${finding.kind})`}`
}

function rekeyCommand(io: Io): Command {
  return source(new Command("rekey"), false)
    .description("put a volume under a new key")
    .argument("<dir>", "the volume's directory")
    .requiredOption("--new-key-file <file>", "the new key")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nFrom then on only the new key opens the volume. Older data moves under it as the volume is used; `coffer volume compact`\nmoves it at once. Interrupted: run it again.",
    )
    .action(async (directory: string, options: VolumeSource & Json & { newKeyFile: string }) => {
      const key = readKeyFile(options.keyFile ?? "")
      const newKey = readKeyFile(options.newKeyFile)
      if (Buffer.compare(key, newKey) === 0)
        throw new CofferError("usage", "wanted another key in --new-key-file, found the same one")
      const { generation } = await rekeyed(directory, key, newKey, options)
      if (options.json === true) io.print(JSON.stringify({ generation }))
      else io.print(`${directory}: under the new key, generation ${generation}`)
    })
}

const rekeyWaitMs = 30_000
const rekeyPollMs = 200

async function rekeyed(
  directory: string,
  key: Uint8Array,
  newKey: Uint8Array,
  { pin }: VolumeSource,
): Promise<StoreInfo> {
  const base = { disk: new NodeDisk(directory), key, newKey }
  const anchor = pin === undefined ? undefined : PinFile.open(pin, "write")
  const state = requestRekey(anchor === undefined ? base : { ...base, anchor })
  if (state.kind === "done") return state.info
  for (let waited = 0; waited < rekeyWaitMs; waited += rekeyPollMs) {
    await setTimeout(rekeyPollMs)
    const info = state.poll()
    if (info !== undefined) return info
  }
  state.withdraw()
  throw new CofferError("io", `${directory}: the process that has the volume did not answer`, {
    hint: "stop that mount, and run this again",
  })
}
