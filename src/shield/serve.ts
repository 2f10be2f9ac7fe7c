import { type MessagePort, parentPort, workerData } from "node:worker_threads"
import { type FileSystem, runLoop } from "../fuse/index.ts"
import { FuseDevice } from "../sys/index.ts"
import { type FromServer, gate, gateAt, type ServeInput, stopAt, transport } from "./protocol.ts"

/**
 * The body of a worker that serves one mount: builds the filesystem first, so that a wrong key or a damaged volume
 * never leaves a mount behind, waits until the other thread has mounted, and serves until the mount has ended.
 */
export async function serveInWorker(
  build: (request: unknown) => FileSystem | Promise<FileSystem>,
): Promise<void> {
  const port = parentPort
  if (port === null) throw new TypeError("serveInWorker runs in a worker")
  const input = workerData as ServeInput
  let error: unknown
  try {
    const fs = await build(input.request)
    say(port, { type: "built", readOnly: fs.options.readOnly })
    serve(port, input, fs)
  } catch (caught) {
    error = caught
  }
  say(port, { type: "ended", error: error === undefined ? undefined : transport(error) })
}

function serve(port: MessagePort, input: ServeInput, fs: FileSystem): void {
  const signals = new Int32Array(input.signals)
  Atomics.wait(signals, gateAt, gate.closed)
  if (Atomics.load(signals, gateAt) === gate.given) {
    fs.destroy()
    return
  }
  runLoop(new FuseDevice(input.device, input.waker), fs, {
    metrics: input.metrics,
    stopped: () => Atomics.load(signals, stopAt) !== 0,
    ready: () => say(port, { type: "ready" }),
    report: (error) => say(port, { type: "incident", incident: transport(error) }),
  })
}

function say(port: MessagePort, message: FromServer): void {
  port.postMessage(message)
}
