import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { after, describe, test } from "node:test"
import { writeBinfs } from "../src/binfs/index.ts"
import { type Incident, mountAt, unmountAt } from "../src/shield/index.ts"
import { openShield } from "../src/shield/shield.ts"
import { type DirectoryNode, directorySource, treeDigest } from "../src/tree/index.ts"
import { bytesOfSeed, directory, file, sampleTree } from "./support/binfs-sample.ts"
import { cannotMount } from "./support/memory-mount.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-binfs-mount-"))
after(() => rmSync(folder, { recursive: true }))
const image = join(folder, "image")
const target = join(folder, "mnt")
mkdirSync(target)

/** Writes the tree to a file, mounts it, and unmounts after the body. */
async function withMount(
  tree: DirectoryNode,
  damage: (image: string) => void,
  body: (incidents: readonly Incident[]) => void | Promise<void>,
): Promise<void> {
  const fd = openSync(image, "w+")
  const { imageSize, rootHash } = writeBinfs(tree, fd, 0, { workerCount: 0 })
  closeSync(fd)
  damage(image)
  const incidents: Incident[] = []
  const request = { kind: "binfs", path: image, dataOffset: 0, dataSize: imageSize } as const
  const served = await openShield({ ...request, hashOffset: imageSize, rootHash }, (incident) => {
    incidents.push(incident)
  })
  await mountAt(served, target, { source: "test", trusted: true })
  try {
    await body(incidents)
  } finally {
    assert.ok(unmountAt(target))
    await served.ended
  }
}

const nothing = () => undefined
const text = (content: string) => file(Buffer.from(content))

void describe("a mounted binary filesystem", { skip: cannotMount() }, () => {
  test("is the tree that it was made of, owners, modes, times, xattrs, links, devices", () =>
    withMount(sampleTree(), nothing, () => {
      assert.deepEqual(treeDigest(directorySource(target)), treeDigest(sampleTree()))
    }))

  test("refuses every change", () =>
    withMount(directory([["a", text("x")]]), nothing, () => {
      assert.throws(() => writeFileSync(join(target, "a"), "y"), { code: "EROFS" })
      assert.throws(() => mkdirSync(join(target, "b")), { code: "EROFS" })
      assert.equal(readFileSync(join(target, "a"), "utf8"), "x")
    }))

  test("asks nothing twice: the second read of everything is free of messages", async () => {
    const tree = directory([
      ["a", text("x")],
      ["b", directory([["c", text("y")]])],
    ])
    const fd = openSync(image, "w+")
    const { imageSize, rootHash } = writeBinfs(tree, fd, 0, { workerCount: 0 })
    closeSync(fd)
    const request = { kind: "binfs", path: image, dataOffset: 0, dataSize: imageSize } as const
    const served = await openShield({ ...request, hashOffset: imageSize, rootHash }, nothing)
    await mountAt(served, target, { source: "test" })
    const readAll = () => {
      readdirSync(join(target, "b"))
      statSync(join(target, "b", "c"))
      return readFileSync(join(target, "a"), "utf8") + readFileSync(join(target, "b", "c"), "utf8")
    }
    assert.equal(readAll(), "xy")
    const { requests } = served.metrics()
    assert.equal(readAll(), "xy")
    const { operations, requests: now } = served.metrics()
    assert.equal(now, requests, JSON.stringify(operations))
    unmountAt(target)
    await served.ended
  })

  test("a flipped block is EIO on exactly what lies in it, and an incident that names it", async () => {
    const content = bytesOfSeed(200_000, 5)
    const tree = directory([
      ["bad", file(content)],
      ["good", file(bytesOfSeed(100_000, 6))],
    ])
    const flip = (path: string) => {
      const at = readFileSync(path).indexOf(content.subarray(4096 * 10, 4096 * 10 + 64))
      assert.equal(at % 4096, 0)
      const fd = openSync(path, "r+")
      writeSync(fd, Buffer.from([(content[4096 * 10 + 7] ?? 0) ^ 1]), 0, 1, at + 7)
      closeSync(fd)
    }
    await withMount(tree, flip, async (incidents) => {
      const fd = openSync(join(target, "bad"), "r")
      const buffer = Buffer.alloc(4096)
      // The kernel reads ahead, so the first error may be for the window; the block itself stays unreadable.
      for (let i = 0; i < 2; i += 1)
        assert.throws(() => readSync(fd, buffer, 0, 4096, 4096 * 10), { code: "EIO" })
      assert.equal(readSync(fd, buffer, 0, 4096, 4096 * 40), 4096)
      assert.deepEqual(new Uint8Array(buffer), content.subarray(4096 * 40, 4096 * 41))
      closeSync(fd)
      assert.equal(readFileSync(join(target, "good")).length, 100_000)
      await new Promise((resolve) => setImmediate(resolve))
      const [incident] = incidents
      assert.ok(incident !== undefined)
      assert.equal(incident.code, "integrity")
      assert.equal(incident.reason, "verity-data-block")
      assert.equal(typeof incident.facts["block"], "number")
    })
  })
})

void describe("coffer binfs mount", { skip: cannotMount() }, () => {
  test("creates, mounts, ends with SIGTERM", async () => {
    const source = join(folder, "source")
    mkdirSync(source)
    writeFileSync(join(source, "file"), "measured")
    const coffer = new URL("../src/cli/main.ts", import.meta.url).pathname
    const run = [
      ...process.execArgv.filter((word) => word.startsWith("--disable")),
      coffer,
      "binfs",
    ]
    execFileSync(process.execPath, [...run, "create", source, image], { stdio: "pipe" })
    const child = spawn(process.execPath, [...run, "mount", image, target], { stdio: "pipe" })
    const exit = once(child, "exit")
    const [line] = (await once(createInterface(child.stdout), "line")) as [string]
    assert.equal(line, `ready ${target}`)
    assert.equal(readFileSync(join(target, "file"), "utf8"), "measured")
    child.kill("SIGTERM")
    assert.deepEqual(await exit, [0, null])
    assert.deepEqual(readdirSync(target), [])
  })
})
