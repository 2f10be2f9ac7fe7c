import { mkdir, open, readFile, rmdir } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as wait } from "node:timers/promises"
import { toHex } from "../../bytes/index.ts"
import { randomBytes } from "../../crypto/index.ts"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"

/**
 * The kernel's report interface (configfs-tsm, Documentation/ABI/testing/configfs-tsm-report): a directory is a request,
 * its files are attributes. Six verbs, so that tests can put a faithful fake in the kernel's place.
 */
export interface TsmFiles {
  /** Makes a request. */
  create(name: string): Promise<void>
  /** Opens, writes all at once, closes. The kernel takes the value at close, and reports no error of it. */
  write(name: string, attribute: string, value: Uint8Array): Promise<void>
  /** The whole attribute. ENOENT where the kernel or the provider does not have it. */
  read(name: string, attribute: string): Promise<Uint8Array>
  /** Ends a request (rmdir, with the attributes still in it). */
  remove(name: string): Promise<void>
}

export const tsmRoot = "/sys/kernel/config/tsm/report"

/** The interface under `root`; another root than the kernel's is for tests on a real tree. */
export function tsmFiles(root = tsmRoot): TsmFiles {
  const path = (name: string, attribute = "") => join(root, name, attribute)
  return {
    create: async (name) => {
      await mkdir(path(name))
    },
    write: async (name, attribute, value) => {
      const file = await open(path(name, attribute), "w")
      try {
        await file.write(value)
      } finally {
        await file.close()
      }
    },
    read: async (name, attribute) => readFile(path(name, attribute)),
    remove: (name) => rmdir(path(name)),
  }
}

export interface TsmReport {
  readonly provider: "tdx_guest" | "sev_guest"
  /** A TDX quote, or an SNP report. */
  readonly outblob: Uint8Array
  /** What the host added, for SNP its certificate table; empty when there is none. */
  readonly auxblob: Uint8Array
}

const attempts = 50
const waitMs = 20
/** A TDX outblob that is larger is another format (DICE), which nobody here reads. */
const outblobMax = 8192

/** Asks the hardware for a report over 64 bytes of report data. Nothing of the request is left behind. */
export async function requestTsmReport(
  files: TsmFiles,
  reportData: Uint8Array,
): Promise<TsmReport> {
  if (reportData.length !== 64) throw new TypeError("report data has 64 bytes")
  const name = `coffer-${toHex(randomBytes(8))}`
  try {
    await files.create(name)
  } catch (error) {
    throw fromSystem(
      error,
      "configfs-tsm",
      "it needs a TDX or SNP guest with Linux 6.7 or later, and configfs mounted",
    )
  }
  try {
    return await requestUnder(files, name, reportData)
  } catch (error) {
    throw fromSystem(error, "configfs-tsm")
  } finally {
    await files.remove(name)
  }
}

async function requestUnder(
  files: TsmFiles,
  name: string,
  reportData: Uint8Array,
): Promise<TsmReport> {
  const provider = text(await files.read(name, "provider"))
  if (provider !== "tdx_guest" && provider !== "sev_guest")
    throw new CofferError(
      "missing",
      `configfs-tsm: wanted the provider tdx_guest or sev_guest, found ${provider}`,
    )
  const before = await generation(files, name)
  await files.write(name, "inblob", reportData)
  // The kernel drops errors of the write: only the generation says that exactly this one was taken.
  await requireGeneration(files, name, before + 1)
  const outblob = await readBusy(files, name, "outblob")
  const auxblob = await readOptional(files, name, "auxblob")
  await requireGeneration(files, name, before + 1)
  if (outblob.length === 0 || outblob.length > outblobMax)
    throw new CofferError(
      "io",
      `configfs-tsm: wanted a report of at most ${outblobMax} bytes, found ${outblob.length}`,
    )
  return { provider, outblob, auxblob }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1").trim()
}

async function generation(files: TsmFiles, name: string): Promise<number> {
  const value = text(await files.read(name, "generation"))
  if (!/^\d{1,15}$/.test(value))
    throw new CofferError("io", `configfs-tsm: generation: wanted a number, found ${value}`)
  return Number(value)
}

async function requireGeneration(files: TsmFiles, name: string, wanted: number): Promise<void> {
  const found = await generation(files, name)
  if (found === wanted) return
  throw new CofferError(
    "io",
    `configfs-tsm: wanted generation ${wanted} after one write, found ${found}`,
    {
      reason: "tsm-generation",
      hint: "another process wrote to the request, or the kernel refused the write",
    },
  )
}

// TDX answers EBUSY while another request is under way.
async function readBusy(files: TsmFiles, name: string, attribute: string): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await files.read(name, attribute)
    } catch (error) {
      if (!isErrno(error, "EBUSY", "EINTR", "ETIMEDOUT") || attempt === attempts) throw error
      await wait(waitMs)
    }
  }
}

async function readOptional(files: TsmFiles, name: string, attribute: string): Promise<Uint8Array> {
  try {
    return await files.read(name, attribute)
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENXIO", "EOPNOTSUPP")) return new Uint8Array()
    throw error
  }
}
