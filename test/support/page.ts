import { spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"
import type { TestContext } from "node:test"
import { debianRootfs, lacksDebian } from "./debian.ts"
import type { Done } from "./podman.ts"

/** Why a page that builds and runs images cannot be run here, or false. */
export function lacksImageTools(): string | false {
  const tools = ["podman", "skopeo", "runc", "curl", "fusermount3"]
  const missing = tools.filter((tool) => spawnSync(tool, ["--version"]).status !== 0)
  if (missing.length > 0) return `no ${missing.join(", ")} here`
  return existsSync("/dev/fuse") ? lacksDebian() : "no /dev/fuse here"
}

/** The `sh` blocks of a page, one after the other. */
export function shellBlocks(page: string): string {
  return [...readFileSync(page, "utf8").matchAll(/^```sh\n([^]*?)^```$/gm)]
    .map(([, body = ""]) => body)
    .join("\n")
}

/**
 * Runs every `sh` block of a page, as it stands there, in one shell and an empty directory: with podman's storage and
 * both CASes (of `coffer run`, of the engines) in a folder of their own, and an mmdebstrap that takes what the tests have
 * made before. `script`: another one than the page's own.
 */
export function runPage(
  t: TestContext,
  page: string,
  script: (folder: string) => string = () => shellBlocks(page),
): Done {
  const folder = mkdtempSync(join(tmpdir(), "coffer-page-"))
  for (const name of ["bin", "home", "storage", "work"]) mkdirSync(join(folder, name))
  const env = environmentIn(folder)
  t.after(() => remove(folder, env))
  programsIn(folder)
  return spawnSync("bash", ["-c", `set -eu -o pipefail\n${script(folder)}`], {
    cwd: join(folder, "work"),
    encoding: "utf8",
    env,
    timeout: 400_000,
  })
}

function environmentIn(folder: string): NodeJS.ProcessEnv {
  const [graph, run] = [join(folder, "storage", "graph"), join(folder, "storage", "run")]
  const storage = `[storage]\ndriver = "overlay"\ngraphroot = "${graph}"\nrunroot = "${run}"\n`
  writeFileSync(join(folder, "storage.conf"), storage)
  // Machines that give us no CAP_SYS_RESOURCE have no right to podman's own limits.
  const limits = '[containers]\ndefault_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]\n'
  writeFileSync(join(folder, "containers.conf"), `${limits}[engine]\nruntime = "runc"\n`)
  return {
    PATH: [join(folder, "bin"), process.env["PATH"]].join(delimiter),
    HOME: join(folder, "home"),
    XDG_DATA_HOME: join(folder, "home", "data"),
    CONTAINERS_STORAGE_CONF: join(folder, "storage.conf"),
    CONTAINERS_CONF: join(folder, "containers.conf"),
  }
}

function programsIn(folder: string): void {
  const program = (name: string, line: string) => {
    writeFileSync(join(folder, "bin", name), `#!/bin/sh\n${line}\n`)
    chmodSync(join(folder, "bin", name), 0o755)
  }
  const node = `${process.execPath} --disable-warning=ExperimentalWarning`
  program("coffer", `exec ${node} ${resolve("src/cli/main.ts")} "$@"`)
  const settings = `COFFER_FROM_SOURCE=1 COFFER_INSECURE_CAS_DIR=${join(folder, "node-cas")}`
  program("coffer-oci", `${settings} exec ${resolve("coffer-oci")} "$@"`)
  const cases = (["python3", "nodejs"] as const).map(
    (name) => `*--include=${name}*) ln -s ${debianRootfs(name)} "$last" ;;`,
  )
  program("mmdebstrap", `for last; do :; done\ncase "$*" in\n${cases.join("\n")}\nesac`)
}

/** Also after a failure half way: containers, mounts, files. */
function remove(folder: string, env: NodeJS.ProcessEnv): void {
  spawnSync("podman", ["rm", "-f", "-t", "0", "-a"], { env })
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n").toReversed()
  for (const line of mounts) {
    const target = line.split(" ")[1] ?? ""
    if (target.startsWith(folder)) spawnSync("umount", ["-l", target])
  }
  rmSync(folder, { recursive: true, force: true })
}
