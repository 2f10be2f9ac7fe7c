import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe } from "node:test"
import { posixSuite } from "./suites/posix.ts"
import { cannotMount, memoryMount, type TestMount } from "./support/memory-mount.ts"

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

void describe("memory", { skip: cannotMount() }, () => {
  let mounted: TestMount | undefined
  before(async () => {
    mounted = await memoryMount()
  })
  after(() => mounted?.end())
  posixSuite("the filesystem in memory", () => mounted?.directory ?? "", {
    findsHoles: false,
    largeDirectory: 2000,
  })
})
