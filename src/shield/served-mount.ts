import { closeSync } from "node:fs"
import type { Worker } from "node:worker_threads"
import { CofferError } from "../errors.ts"
import { type FuseMetrics, type IdMaps, metricsMemory, readMetrics } from "../fuse/index.ts"
import { createWaker, openFuse, wake } from "../sys/index.ts"
import {
  type FromServer,
  gate,
  gateAt,
  type Incident,
  received,
  type ServeInput,
  stopAt,
  type ToServer,
} from "./protocol.ts"
import { threadOf } from "./threads.ts"

export interface ServeOptions {
  /** The worker's entry: a file that calls `serveInWorker`. */
  readonly worker: URL
  /** What its builder gets, at once or later: the thread starts meanwhile. When it rejects, so does `open`. */
  readonly request: unknown
  /** Of a container with a user namespace, when the mount is made outside of it. */
  readonly ids?: IdMaps | undefined
  /** A fault while serving, for logs and reports. */
  readonly onIncident?: (incident: Incident) => void
}

/**
 * One filesystem, open in its own thread and ready to be mounted. Whoever mounts does so with the descriptor `device`,
 * (`mountAt`, or in another mount namespace), and then calls `begin`.
 */
export class ServedMount {
  readonly device: number
  readonly readOnly: boolean
  /** Settles when the mount is gone and the filesystem has committed; rejects with what went wrong. */
  readonly ended: Promise<void>
  readonly #host: Host

  constructor(host: Host, readOnly: boolean) {
    this.#host = host
    this.device = host.device
    this.readOnly = readOnly
    this.ended = host.ended.promise
  }

  /** Opens the filesystem. Rejects with its error: wrong key, rollback, nothing there. */
  static async open(options: ServeOptions): Promise<ServedMount> {
    const host = new Host(options)
    Promise.resolve(options.request).then(
      (value) => host.give(value),
      (error: unknown) => host.giveUp(error),
    )
    return new ServedMount(host, await host.built.promise)
  }

  /** The mount has been made: serve. Resolves when the kernel has had its first answer. */
  async begin(): Promise<void> {
    this.#host.open(gate.open)
    await this.#host.ready.promise
  }

  /** There will be no mount: closes the filesystem. */
  async abandon(): Promise<void> {
    this.#host.open(gate.given)
    await this.ended
  }

  /** Commits and ends now, whoever still uses the mount: they get ENOTCONN. Prefer to unmount. */
  stop(): void {
    this.#host.stop()
  }

  metrics(): FuseMetrics {
    return readMetrics(this.#host.metrics)
  }
}

/** The worker, the descriptors, and what has been heard from it. */
class Host {
  readonly device: number
  readonly metrics = metricsMemory()
  readonly built = Promise.withResolvers<boolean>()
  readonly ready = Promise.withResolvers<void>()
  readonly ended = Promise.withResolvers<void>()
  readonly #thread: Worker
  readonly #waker: number
  readonly #input: ServeInput
  readonly #signals = new Int32Array(new SharedArrayBuffer(8))
  readonly #onIncident: (incident: Incident) => void
  #closed = false

  constructor({ worker, ids, onIncident }: ServeOptions) {
    this.device = openFuse()
    this.#waker = createWaker()
    this.#onIncident = onIncident ?? (() => undefined)
    this.#input = {
      device: this.device,
      waker: this.#waker,
      metrics: this.metrics,
      signals: this.#signals.buffer,
      ids,
    }
    // A promise that nobody awaits yet must not end the process: the same error reaches `open` or `ended`.
    for (const { promise } of [this.built, this.ready, this.ended]) promise.catch(() => undefined)
    const thread = threadOf(worker)
    this.#thread = thread
    thread.on("message", (message: FromServer) => this.#hear(message))
    thread.on("error", (error) => this.#end(error))
    thread.on("exit", () => this.#end(new CofferError("fault", "the serving thread ended early")))
  }

  give(value: unknown): void {
    this.#say({ input: this.#input, request: { value } })
  }

  giveUp(error: unknown): void {
    this.built.reject(error)
    this.#say({ input: this.#input, request: undefined })
  }

  #say(message: ToServer): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#thread.postMessage(message)
  }

  open(value: number): void {
    Atomics.store(this.#signals, gateAt, value)
    Atomics.notify(this.#signals, gateAt)
  }

  stop(): void {
    if (this.#closed) return
    Atomics.store(this.#signals, stopAt, 1)
    wake(this.#waker)
  }

  #hear(message: FromServer): void {
    switch (message.type) {
      case "built":
        this.built.resolve(message.readOnly)
        break
      case "ready":
        this.ready.resolve()
        break
      case "incident":
        this.#onIncident(message.incident)
        break
      case "ended":
        this.#end(message.error === undefined ? undefined : received(message.error))
        break
    }
  }

  // Closing the device ends the connection, should the mount still be there: nobody hangs on a thread that is gone.
  #end(error: unknown): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.device)
    closeSync(this.#waker)
    const early = error ?? new CofferError("io", "the mount ended before it was ready")
    this.built.reject(early)
    this.ready.reject(early)
    if (error === undefined) this.ended.resolve()
    else this.ended.reject(error)
  }
}
