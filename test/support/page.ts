import { spawnSync } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"
import type { TestContext } from "node:test"
import { debianRootfs, lacksDebian } from "./debian.ts"
import type { Done } from "./podman.ts"

/** Why a page that builds images cannot be run here, or false. */
export function lacksImageTools(): string | false {
  const missing = ["podman", "skopeo", "runc"].filter(
    (tool) => spawnSync(tool, ["--version"]).status !== 0,
  )
  return missing.length > 0 ? `no ${missing.join(", ")} here` : lacksDebian()
}

/**
 * Runs every `sh` block of a page, as it stands there, in one shell and an empty directory: with podman's storage and the
 * embedded CAS in a folder of their own, and an mmdebstrap that takes what the tests have made before.
 */
export function runPage(t: TestContext, page: string): Done {
  const folder = mkdtempSync(join(tmpdir(), "coffer-page-"))
  t.after(() => {
    for (const place of ["graph", "graph/overlay"])
      spawnSync("umount", ["-l", join(folder, "storage", place)])
    rmSync(folder, { recursive: true, force: true })
  })
  for (const name of ["bin", "home", "storage", "work"]) mkdirSync(join(folder, name))
  const program = (name: string, line: string) => {
    writeFileSync(join(folder, "bin", name), `#!/bin/sh\n${line}\n`)
    chmodSync(join(folder, "bin", name), 0o755)
  }
  const node = `${process.execPath} --disable-warning=ExperimentalWarning`
  program("coffer", `exec ${node} ${resolve("src/cli/main.ts")} "$@"`)
  program("mmdebstrap", `for last; do :; done; ln -s ${debianRootfs("python3")} "$last"`)
  const [graph, run] = [join(folder, "storage", "graph"), join(folder, "storage", "run")]
  const storage = `[storage]\ndriver = "overlay"\ngraphroot = "${graph}"\nrunroot = "${run}"\n`
  writeFileSync(join(folder, "storage.conf"), storage)
  const blocks = [...readFileSync(page, "utf8").matchAll(/```sh\n([\s\S]*?)```/g)]
  const script = `set -eu -o pipefail\n${blocks.map(([, body = ""]) => body).join("\n")}`
  return spawnSync("bash", ["-c", script], {
    cwd: join(folder, "work"),
    encoding: "utf8",
    env: {
      PATH: [join(folder, "bin"), process.env["PATH"]].join(delimiter),
      HOME: join(folder, "home"),
      XDG_DATA_HOME: join(folder, "home", "data"),
      CONTAINERS_STORAGE_CONF: join(folder, "storage.conf"),
    },
  })
}
