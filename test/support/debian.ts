import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

/** Where large things that tests make once are kept: `COFFER_CACHE`, else `coffer-test` in the user's cache. */
export function cacheFolder(): string {
  const base = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache")
  const folder = process.env["COFFER_CACHE"] ?? join(base, "coffer-test")
  mkdirSync(folder, { recursive: true })
  return folder
}

/** Why there can be no Debian root filesystem here, or false. */
export function lacksDebian(): string | false {
  if (process.getuid?.() !== 0) return "mmdebstrap needs root"
  return spawnSync("mmdebstrap", ["--version"]).status === 0 ? false : "no mmdebstrap here"
}

const packagesOf = {
  python3: "python3",
  nodejs: "nodejs",
  "python3-testsuite": "python3,libpython3.11-testsuite",
  "python3-postgresql": "python3,postgresql",
} as const
export type RootfsName = keyof typeof packagesOf

/**
 * The path of a tar: a minimal Debian with one package more. Made once with mmdebstrap, from the sources of the machine's
 * apt, and kept in the cache.
 */
export function debianRootfs(packageName: RootfsName, suite = "bookworm"): string {
  const tar = join(cacheFolder(), `${suite}-${packageName}.tar`)
  if (existsSync(tar)) return tar
  const beside = join(cacheFolder(), `${suite}-${packageName}.${process.pid}.part.tar`)
  const how = ["--quiet", "--variant=minbase", `--include=${packagesOf[packageName]}`]
  const made = spawnSync("mmdebstrap", [...how, suite, beside], { encoding: "utf8" })
  if (made.status !== 0) {
    rmSync(beside, { force: true })
    throw new Error(`mmdebstrap ${suite} ${packageName}: ${made.stderr}`)
  }
  renameSync(beside, tar)
  return tar
}
