/** Every `sh` block of the user documentation is run, in one shell a page, in an empty folder. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { test } from "node:test"
import { shellBlocks } from "../support/page.ts"

const pages = ["docs/operations.md", "docs/volumes.md", "docs/kubernetes.md", "docs/guest.md"]

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

test("each page that a page names is there, and each page is named", () => {
  const all = ["README.md", ...globSync("docs/*.md")]
  const named = new Set<string>()
  const broken: string[] = []
  for (const page of all)
    for (const [, path = ""] of readFileSync(page, "utf8").matchAll(
      /\]\((?!https?:)([^)#]+)[^)]*\)/g,
    )) {
      const target = join(dirname(page), path)
      named.add(target)
      if (!existsSync(target)) broken.push(`${page}: ${path}`)
    }
  assert.deepEqual(broken, [])
  assert.deepEqual(
    all.filter((page) => page !== "README.md" && !named.has(page)),
    [],
  )
})
