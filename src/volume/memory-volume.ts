import { randomBytes } from "../crypto/index.ts"
import type { VolumeFileSystem } from "./fs/volume-fs.ts"
import { fileSystemOn } from "./open-volume.ts"
import { MemoryDisk } from "./store/memory-disk.ts"
import { createStore, openStore } from "./store/open.ts"

/** The smallest that there is: memory is what it takes. */
const settings = { segmentSize: 4 << 20 }

/** An encrypted volume in memory, with a key that nobody else has. */
export class MemoryVolume {
  readonly #disk = new MemoryDisk()
  readonly #key = randomBytes(32)
  #made = false

  /** With what it held when the one before was destroyed, and no cache of it. */
  open(): VolumeFileSystem {
    const how = { disk: this.#disk, key: this.#key, settings }
    const opened = this.#made ? openStore(how) : createStore({ ...how, protection: "encrypted" })
    this.#made = true
    return fileSystemOn(opened, {}, () => undefined)
  }
}
