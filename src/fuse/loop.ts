// Hot path: receive, handle, send; the thread that runs it does nothing else.
import { availableParallelism } from "node:os"
import { CofferError } from "../errors.ts"
import type { FileSystem } from "./filesystem.ts"
import { Linger } from "./linger.ts"
import { ReadBatch } from "./read-batch.ts"
import { Session } from "./session.ts"
import { outHeaderSize } from "./wire.ts"

/** The kernel's end of a mount, as the loop needs it. `src/sys` has the one on /dev/fuse; tests have their own. */
export interface Device {
  /** Where requests are read into and replies are taken from: called once, before all else. */
  attach(input: ArrayBuffer, output: ArrayBuffer): void
  /** The size of the next request, 0 when none waits, -1 when the mount has ended. */
  receive(): number
  /** Until a request comes, another thread wakes us (then true), or the time is over. */
  wait(ms: number): boolean
  /** Sends the first `size` bytes of the output. 0 or a negative errno; one for a request that was given up is 0. */
  send(size: number): number
}

export interface LoopControl {
  readonly metrics: SharedArrayBuffer
  /** Called once, when INIT has been answered. */
  readonly ready: () => void
  /** Looked at when the loop is woken, and every second: true ends it as the end of the mount does. */
  readonly stopped: () => boolean
  /** An exception in the filesystem; the request that met it has got EIO. */
  readonly report: (error: unknown) => void
  /** Work for when nothing is asked of us, in steps of a fraction of a millisecond. What it throws ends it. */
  readonly spare?: Iterator<void> | undefined
}

const busyTickMs = 10
const waitMaxMs = 1000
/** Spare work is done for so long, after so long without a request. */
const spareMs = 2
const sparePauseMs = 2
/** And not at once: who has mounted us is still starting what will use us. */
const spareAfterMs = 500

/** Serves the mount until it ends, then destroys the filesystem. Throws what `destroy` throws, and `missing` when the kernel cannot be served. */
export function runLoop(device: Device, fs: FileSystem, control: LoopControl): void {
  const loop = new Loop(device, fs, control)
  try {
    loop.run()
  } finally {
    fs.destroy()
  }
}

class Loop {
  readonly #device: Device
  readonly #fs: FileSystem
  readonly #control: LoopControl
  readonly #session: Session
  readonly #reads: ReadBatch
  readonly #linger = new Linger(availableParallelism())
  readonly #serveRead = (size: number, since: number): void => this.#serve(size, since)
  /** When `tick` is due on an idle loop, and on a busy one. */
  #idleTickAt = 0
  #busyTickAt = 0
  #stopped = false
  #spare: Iterator<void> | undefined
  #spareAt = 0
  /** No request has come in the last pause. */
  #paused = false

  constructor(device: Device, fs: FileSystem, control: LoopControl) {
    this.#device = device
    this.#fs = fs
    this.#control = control
    this.#session = new Session(fs, control.metrics, {
      answer: (low, high, error) => this.#answer(low, high, error),
      report: control.report,
    })
    this.#reads = new ReadBatch(fs, this.#session.input)
    this.#spare = control.spare
    device.attach(this.#session.input, this.#session.output)
  }

  run(): void {
    if (!this.#handshake()) return
    this.#control.ready()
    this.#spareAt = performance.now() + spareAfterMs
    while (!this.#stopped) {
      const size = this.#receive()
      if (size < 0) return
      const now = performance.now()
      if (size > 0 && this.#reads.take(size, now) && !this.#reads.full) continue
      this.#serveAll(size, now)
      if (now >= this.#busyTickAt) this.#tick(now)
    }
  }

  /** The next request; when none waits and nothing else is to be done, looks for one for a while. */
  #receive(): number {
    let size = this.#device.receive()
    if (size !== 0 || this.#reads.count > 0) return size
    const since = performance.now()
    const ms = this.#linger.begin(since >= this.#idleTickAt)
    if (ms === 0) return size
    while (size === 0 && performance.now() - since < ms) size = this.#device.receive()
    if (size === 0) this.#linger.missed()
    else this.#linger.found()
    return size
  }

  /** The reads that wait, and the request in the input, unless it is one of them. Without any of these the loop is idle. */
  #serveAll(size: number, now: number): void {
    const { count, full } = this.#reads
    if (size > 0 && !full) this.#serve(size, now)
    if (count > 0) this.#reads.drain(this.#serveRead)
    else if (size === 0) this.#idle(now)
  }

  /** Serves up to INIT; false when the mount ended before it. */
  #handshake(): boolean {
    while (!this.#session.ready) {
      if (this.#control.stopped()) return false
      const size = this.#device.receive()
      if (size < 0) return false
      if (size === 0) this.#device.wait(waitMaxMs)
      else this.#serve(size, performance.now())
      const refusal = this.#session.refusal
      if (refusal !== undefined) throw new CofferError("missing", `fuse: ${refusal}`)
    }
    return true
  }

  #serve(size: number, now: number): void {
    this.#paused = false
    const replySize = this.#session.handle(size, now)
    if (replySize > 0) this.#send(replySize)
  }

  #send(size: number): void {
    const error = this.#device.send(size)
    if (error < 0) this.#control.report(new Error(`the kernel refused a reply: errno ${-error}`))
  }

  // Only from `tick`, INTERRUPT or within a handler that has yet to write its own header: nothing of a reply is lost.
  #answer(low: number, high: number, error: number): void {
    const words = new Uint32Array(this.#session.output, 0, 4)
    words.set([outHeaderSize, error, low, high])
    this.#send(outHeaderSize)
  }

  #idle(now: number): void {
    if (now >= this.#idleTickAt) this.#tick(now)
    if (this.#spare !== undefined && this.#paused && now >= this.#spareAt) {
      this.#paused = false
      this.#doSpare(this.#spare, now)
      return
    }
    const longest =
      this.#spare === undefined ? waitMaxMs : Math.max(sparePauseMs, this.#spareAt - now)
    const delay = Math.min(longest, this.#idleTickAt - now)
    if (delay <= 0) return
    if (this.#device.wait(delay)) this.#idleTickAt = 0
    this.#paused = true
    this.#linger.slept(performance.now() - now)
  }

  #doSpare(spare: Iterator<void>, now: number): void {
    try {
      while (performance.now() - now < spareMs)
        if (spare.next().done === true) {
          this.#spare = undefined
          return
        }
    } catch (error) {
      this.#spare = undefined
      this.#control.report(error)
    }
  }

  #tick(now: number): void {
    const delay = this.#tickFileSystem(now)
    this.#idleTickAt = now + delay
    this.#busyTickAt = now + Math.max(busyTickMs, delay)
    if (this.#session.parked.size > 0) this.#session.parked.expire(now)
    this.#session.updateGauges()
    this.#stopped = this.#control.stopped()
  }

  #tickFileSystem(now: number): number {
    try {
      return this.#fs.tick(now)
    } catch (error) {
      this.#control.report(error)
      return waitMaxMs
    }
  }
}
