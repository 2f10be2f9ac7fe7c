/** Every `sh` block of the user documentation is run, in one shell a page, in an empty folder. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { test } from "node:test"

const pages = ["docs/volumes.md"]

function shellBlocks(page: string): string {
  return [...readFileSync(page, "utf8").matchAll(/^```sh\n([^]*?)^```$/gm)]
    .map(([, text]) => text ?? "")
    .join("\n")
}

for (const page of pages) {
  test(`every command of ${page} works`, {
    skip: (!existsSync("/dev/fuse") || process.getuid?.() !== 0) && "needs root and /dev/fuse",
  }, (t) => {
    const place = mkdtempSync(join(tmpdir(), "docs-"))
    t.after(() => {
      spawnSync("umount", ["-l", join(place, "mnt")])
      rmSync(place, { recursive: true, force: true })
    })
    symlinkSync(resolve("coffer"), join(place, "coffer"))
    const run = spawnSync("bash", ["-euo", "pipefail", "-c", shellBlocks(page)], {
      cwd: place,
      encoding: "utf8",
      env: { ...process.env, PATH: `${place}:${process.env["PATH"] ?? ""}` },
      timeout: 120_000,
    })
    assert.equal(run.status, 0, `${run.stdout}${run.stderr}`)
  })
}
