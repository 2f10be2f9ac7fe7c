import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { test } from "node:test"
import type { Worker } from "node:worker_threads"
import { loopWorker, startThread, threadOf } from "./threads.ts"

test("a thread that was started early is given once, and only for its own program", async () => {
  startThread(loopWorker)
  const other = threadOf(new URL("data:text/javascript,"))
  const early = threadOf(loopWorker)
  const late = threadOf(loopWorker)
  assert.equal(new Set([other, early, late]).size, 3)
  assert.ok(early.threadId < other.threadId && other.threadId < late.threadId)
  assert.equal(early.listenerCount("error") + early.listenerCount("exit"), 0)
  await Promise.all([other, early, late].map((thread) => thread.terminate()))
})

test("an early thread that has ended is not given: another starts in its place", async () => {
  const made = once(process, "worker")
  startThread(loopWorker)
  const [early] = (await made) as [Worker]
  await early.terminate()
  const thread = threadOf(loopWorker)
  assert.notEqual(thread, early)
  await thread.terminate()
})

test("an early thread that nobody takes keeps no program from its end", () => {
  const threads = new URL("./threads.ts", import.meta.url).href
  const program = `import { loopWorker, startThread } from "${threads}"; startThread(loopWorker)`
  const words = ["--input-type=module", "--eval", program]
  const { status } = spawnSync(process.execPath, words, { timeout: 60_000, stdio: "ignore" })
  assert.equal(status, 0)
})
