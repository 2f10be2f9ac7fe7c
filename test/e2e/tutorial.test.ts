import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"
import { after, test } from "node:test"
import { debianRootfs, lacksDebian } from "../support/debian.ts"

// Every command of the tutorial, as it stands there, in one shell and an empty directory.

const folder = mkdtempSync(join(tmpdir(), "coffer-tutorial-"))
const at = (...names: readonly string[]) => join(folder, ...names)
after(() => {
  spawnSync("umount", ["-l", at("work", "mnt")])
  // Podman leaves a mount of its storage behind, of the storage in this folder.
  for (const place of ["graph", "graph/overlay"]) spawnSync("umount", ["-l", at("storage", place)])
  rmSync(folder, { recursive: true, force: true })
})

function lacksTools(): string | false {
  const missing = ["podman", "skopeo", "fusermount3"].filter(
    (tool) => spawnSync(tool, ["--version"]).status !== 0,
  )
  return missing.length > 0 ? `no ${missing.join(", ")} here` : lacksDebian()
}

function blocksOf(text: string): string {
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, body = ""]) => body).join("\n")
}

function program(name: string, line: string): void {
  writeFileSync(at("bin", name), `#!/bin/sh\n${line}\n`)
  chmodSync(at("bin", name), 0o755)
}

/** `coffer` from the sources, and an mmdebstrap that takes what the tests have made before. */
function programs(): void {
  const node = `${process.execPath} --disable-warning=ExperimentalWarning`
  program("coffer", `exec ${node} ${resolve("src/cli/main.ts")} "$@"`)
  program("mmdebstrap", `for last; do :; done; ln -s ${debianRootfs("python3")} "$last"`)
}

function environment(): NodeJS.ProcessEnv {
  const lines = ["[storage]", 'driver = "overlay"', `graphroot = "${at("storage", "graph")}"`]
  writeFileSync(
    at("storage.conf"),
    [...lines, `runroot = "${at("storage", "run")}"`, ""].join("\n"),
  )
  return {
    PATH: [at("bin"), process.env["PATH"]].join(delimiter),
    HOME: at("home"),
    XDG_DATA_HOME: at("home", "data"),
    CONTAINERS_STORAGE_CONF: at("storage.conf"),
  }
}

test("the tutorial on a Python service", { skip: lacksTools(), timeout: 300_000 }, () => {
  for (const name of ["bin", "home", "storage", "work"]) mkdirSync(at(name))
  programs()
  const script = `set -eu -o pipefail\n${blocksOf(readFileSync("docs/tutorial-python.md", "utf8"))}`
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], {
    cwd: at("work"),
    env: environment(),
    encoding: "utf8",
  })
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  const mrEnclave = /MrEnclave {2}([0-9a-f]{64})/.exec(stdout)?.[1] ?? "none"
  assert.ok(stdout.includes(`${mrEnclave}  shop.sgxs`), "sha256sum of the stream is MrEnclave")
  assert.match(stdout, /visit number 1\nvisit number 2\n/)
  assert.match(stderr, /sealed by Coffer, MrEnclave/)
  assert.match(stdout, /status 126/)
  // The older volume, then the other code.
  assert.match(stdout, /visit number 3\nrefused: status 125/)
  assert.match(stdout, /changed {2}\/app\/app.py: [^\n]*content[\s\S]*refused: status 125/)
  assert.doesNotMatch(stdout, /I send your data/)
  assert.match(stdout, /refused: status 3/)
  assert.match(stdout, /nobody else reads this/)
})
