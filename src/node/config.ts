import { closeSync, fstatSync, openSync, readFileSync } from "node:fs"
import { z } from "zod"
import { defaultPcrs } from "../attest/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { parseYaml } from "../manifest/index.ts"
import { nodeConfigPath, ownUserNamespace } from "../sys/index.ts"

export const defaultSocket = "/run/coffer/node.sock"

const hash = z.string().regex(/^[0-9a-f]{64}$/, {
  error: "64 lower-case hex digits, quoted when they are all digits",
})

const path = z
  .string({ error: "an absolute path" })
  .max(4096, "at most 4096 characters")
  .refine((text) => text.startsWith("/") && !text.includes("\0"), { error: "an absolute path" })

const pcr = z.int({ error: "a PCR from 0 to 23" }).min(0, "a PCR from 0 to 23")

const tpmFields = {
  /** As `coffer attest ak --tpm` takes it: `/dev/…`, `unix:PATH` or `HOST:PORT`. */
  device: z
    .string()
    .regex(/^(\/dev\/.+|unix:\/.+|[^/]+:\d{1,5})$/, { error: "/dev/…, unix:PATH or HOST:PORT" })
    .default("/dev/tpmrm0"),
  /** Which registers of the SHA-256 bank are quoted. */
  pcrs: z
    .array(pcr.max(23, "a PCR from 0 to 23"))
    .min(1, "at least one PCR")
    .max(24)
    .default(defaultPcrs.map((name) => Number(name.slice("sha256:".length)))),
}

const platform = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("insecure-sim") }),
  z.strictObject({ type: z.literal("tdx") }),
  z.strictObject({ type: z.literal("sev-snp") }),
  z.strictObject({ type: z.literal("azure"), ...tpmFields }),
  z.strictObject({ type: z.literal("tpm2"), ...tpmFields }),
])

const cas = z.strictObject({
  url: z.string().regex(/^https:\/\/[^/@\s]+\/?$/, { error: "https://HOST:PORT" }),
  /** The CAS's Ed25519 key, which `coffer cas status` prints. */
  key: hash,
})

const schema = z.strictObject({
  version: z.literal(1, { error: "1" }),
  platform,
  /** Absent: the embedded CAS of this machine. */
  cas: cas.optional(),
  /** `outside`: the container engine runs outside the measured guest. `trusted`: it has root beside us, and reports say so. */
  engine: z.enum(["trusted", "outside"]).default("trusted"),
  socket: path.default(defaultSocket),
  /** AMD's certificates go into SNP evidence from here; `coffer node collateral` lists it. */
  collateral: path.optional(),
  /** Programs that an engine may name as a hook of a container. */
  hooks: z
    .array(z.strictObject({ path, sha256: hash }))
    .max(64, "at most 64 hooks")
    .default([]),
})

export type NodeConfig = Readonly<z.output<typeof schema>>

/** `file` is for messages only. */
export function parseNodeConfig(text: string, file: string): NodeConfig {
  return parseYaml(text, file, schema, "node-config")
}

const maxSize = 1 << 20

/**
 * The node's configuration; undefined when there is no such file: then the machine is what it is without one,
 * `insecure-sim` with an embedded CAS. It names the CAS's key and the hooks, so only root may be able to write it.
 */
export function loadNodeConfig(file = nodeConfigPath): NodeConfig | undefined {
  let fd: number
  try {
    fd = openSync(file, "r")
  } catch (error) {
    // One that somebody has named must be there.
    if (file === nodeConfigPath && isErrno(error, "ENOENT", "ENOTDIR")) return undefined
    throw fromSystem(error, file)
  }
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile())
      throw new CofferError("config", `${file}: wanted a file, found another thing`)
    const { uid, mode, size } = stat
    if (ownUserNamespace() !== undefined && uid !== process.getuid?.())
      throw new CofferError(
        "refused",
        `${file}: wanted no configuration of the machine's for an ordinary user, found one`,
        {
          reason: "node-config-ordinary",
          hint: "what vouches for this machine's enclaves serves root only: run it as root, or as a user with --node-config FILE",
        },
      )
    const own = uid === 0 || uid === process.getuid?.()
    if (!own || (mode & 0o022) !== 0)
      throw new CofferError(
        "config",
        `${file}: wanted a file that only its owner root can write, found uid ${uid}, mode ${(mode & 0o7777).toString(8)}`,
        { hint: `chown root ${file} && chmod 644 ${file}`, reason: "node-config-writable" },
      )
    if (size > maxSize)
      throw new CofferError("config", `${file}: wanted at most 1 MiB, found ${size}`)
    return parseNodeConfig(readFileSync(fd, "utf8"), file)
  } finally {
    closeSync(fd)
  }
}
