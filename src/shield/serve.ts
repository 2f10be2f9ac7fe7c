import { type MessagePort, parentPort } from "node:worker_threads"
import { type FileSystem, type LoopControl, MappedFileSystem, runLoop } from "../fuse/index.ts"
import { FuseDevice } from "../sys/index.ts"
import {
  type FromServer,
  gate,
  gateAt,
  type ServeInput,
  stopAt,
  type ToServer,
  transport,
} from "./protocol.ts"

/**
 * The body of a worker that serves one mount: builds the filesystem first, so that a wrong key or a damaged volume
 * never leaves a mount behind, waits until the other thread has mounted, and serves until the mount has ended. What `build`
 * gets beside its request reports a fault that no request of the kernel meets: an incident, as those that one meets. `spare`:
 * work for when nothing is asked of the mount.
 */
export async function serveInWorker(
  build: (request: unknown, report: (error: unknown) => void) => FileSystem | Promise<FileSystem>,
  spare?: (request: unknown) => Promise<Iterator<void> | undefined>,
): Promise<void> {
  const port = parentPort
  if (port === null) throw new TypeError("serveInWorker runs in a worker")
  const report = reportTo(port)
  let error: unknown
  try {
    const { input, request } = await messageTo(port)
    if (request !== undefined) {
      const fs = await build(request.value, report)
      say(port, { type: "built", readOnly: fs.options.readOnly })
      const { ids } = input
      const served = ids === undefined ? fs : new MappedFileSystem(fs, ids)
      serve(port, input, served, { report, spare: await spare?.(request.value) })
    }
  } catch (caught) {
    error = caught
  }
  say(port, { type: "ended", error: error === undefined ? undefined : transport(error) })
}

/** The thread is there before anybody knows what it is to serve: so its start costs nobody's time. */
function messageTo(port: MessagePort): Promise<ToServer> {
  return new Promise((resolve) => {
    port.once("message", resolve)
  })
}

/** Says each error once, also when the filesystem has reported what it then throws. */
function reportTo(port: MessagePort): (error: unknown) => void {
  const said = new WeakSet<object>()
  return (error) => {
    if (typeof error === "object" && error !== null) {
      if (said.has(error)) return
      said.add(error)
    }
    say(port, { type: "incident", incident: transport(error) })
  }
}

function serve(
  port: MessagePort,
  input: ServeInput,
  fs: FileSystem,
  { report, spare }: Pick<LoopControl, "report" | "spare">,
): void {
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
    report,
    spare,
  })
}

function say(port: MessagePort, message: FromServer): void {
  port.postMessage(message)
}
