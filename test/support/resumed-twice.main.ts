/**
 * A writer whose process is copied in the middle of its work, with fork(2), and goes on twice: `DIRECTORY`. Both copies have
 * one memory: the open segment and its key, queued frames, counters, the state of every random generator in the process.
 * Where this process draws salts, it is made to repeat too. Each copy writes its disk to a folder of its own below DIRECTORY.
 * Run with --single-threaded: a copy has no other threads.
 */

import ffi from "node:ffi"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createStore } from "../../src/volume/index.ts"
import { kernelEntropy } from "../../src/volume/store/entropy.ts"
import { RecordingDisk, seeded } from "../crash/recording-disk.ts"
import { key, session, settings, Tiny } from "../crash/workload.ts"

const libc = ffi.dlopen(null, {
  fork: { arguments: [], return: "int32" },
  madvise: { arguments: ["uint64", "uint64", "int32"], return: "int32" },
  waitpid: { arguments: ["int32", "pointer", "int32"], return: "int32" },
  _exit: { arguments: ["int32"], return: "void" },
} as const).functions

const [directory = ""] = process.argv.slice(2)
let salts = 0
const entropy = {
  ...kernelEntropy,
  salt: () => {
    salts += 1
    return Buffer.alloc(32, salts)
  },
}

const disk = new RecordingDisk()
const made = createStore({
  disk,
  key,
  protection: "encrypted",
  settings: { ...settings, segmentSize: 256 * 1024, entropy },
})
const tiny = new Tiny(made)
session(tiny, 20, seeded(1), () => undefined)
tiny.store.flush()
for (let i = 0; i < 5; i += 1) tiny.put(500) // wait in the run, not sealed yet

function keep(name: string): void {
  mkdirSync(join(directory, name, "segments"), { recursive: true })
  for (const [file, bytes] of disk.files)
    if (file.startsWith("segments/")) writeFileSync(join(directory, name, file), bytes)
}

function goOn(name: string): void {
  session(tiny, 30, seeded(2), () => undefined)
  tiny.store.flush()
  keep(name)
}

const begin = 0x10000n
const size = 0x7fff_f000_0000n - begin
const MADV_DOFORK = 11

/** V8 marks its memory as not to be copied by a fork; nothing may be allocated between this and the fork. */
function copiedProcess(): number {
  libc.madvise(begin, size, MADV_DOFORK)
  return libc.fork()
}

keep("before")
for (const name of ["first", "second"]) {
  const pid = copiedProcess()
  if (pid === 0) {
    let status = 1
    try {
      goOn(name)
      status = 0
    } finally {
      libc["_exit"](status)
    }
  }
  const status = Buffer.alloc(4)
  libc.waitpid(pid, status, 0)
  if (status.readInt32LE(0) !== 0)
    throw new Error(`the ${name} copy ended with ${status.readInt32LE(0)}`)
}
