/** Serves a filesystem whose thread dies without a word, or says nothing more, when it is asked for anything but a name. */
import process from "node:process"
import { serveInWorker } from "../../src/shield/index.ts"
import { MemoryFileSystem } from "../suites/memory-fs.ts"

/** How the thread ends. */
export type Death = "exit" | "silence"

class DyingFileSystem extends MemoryFileSystem {
  readonly #death: Death

  constructor(death: Death) {
    super({})
    this.#death = death
  }

  override getattr(): number {
    return this.#die()
  }

  override statfs(): number {
    return this.#die()
  }

  #die(): never {
    if (this.#death === "silence") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    process.exit(1) // of the thread
  }
}

await serveInWorker((request) => new DyingFileSystem(request as Death))
