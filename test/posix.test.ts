import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe } from "node:test"
import { posixSuite } from "./suites/posix.ts"
import { cannotMount, memoryMount } from "./support/memory-mount.ts"
import { mounted } from "./support/posix-mounted.ts"

// The machine's own filesystem first: a case that fails there says nothing about ours.
void describe("native", { skip: cannotMount() }, () => {
  let directory = ""
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "coffer-posix-"))
  })
  after(() => rmSync(directory, { recursive: true, force: true }))
  posixSuite("the machine's own filesystem", () => directory, {
    findsHoles: true,
    largeDirectory: 2000,
  })
})

mounted("the filesystem in memory", memoryMount)
