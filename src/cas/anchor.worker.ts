import { type MessagePort, parentPort, workerData } from "node:worker_threads"
import { fromHex } from "../bytes/index.ts"
import { type AnchorCall, type AnchorReply, type AnchorSetup, toWire } from "./anchor-protocol.ts"
import { CasClient } from "./client.ts"
import { httpTransport } from "./http-transport.ts"
import type { PositionReply } from "./requests.ts"

/** Talks to the CAS for a thread that must not wait in an event loop: the filesystem's. Also keeps the lease alive. */
const { setup, port } = workerData as { readonly setup: AnchorSetup; readonly port: MessagePort }
const signal = new Int32Array(setup.signal)
const renewMs = 10_000
// An fsync that promises the anchor waits for it; a periodic move is tried again by the volume, which serves nobody meanwhile.
const strictPatienceMs = 30_000
const periodicPatienceMs = 300

function connect(): CasClient {
  const { target } = setup
  const casKey = fromHex(target.casKey) ?? new Uint8Array()
  const strict = setup.grant.freshness === "strict"
  const patience = strict ? strictPatienceMs : periodicPatienceMs
  return new CasClient({ transport: httpTransport(target.url, casKey), casKey, patience })
}

const client = connect()

async function perform(call: AnchorCall): Promise<PositionReply | undefined> {
  switch (call.verb) {
    case "current":
      return await client.current(setup.policy, setup.grant, call.seen)
    case "move":
      return await client.moveTag(setup.policy, setup.grant, call.expected, call.next)
    case "close":
      if (setup.grant.access === "write") await client.releaseLease(setup.policy, setup.grant)
      await client.close()
      return undefined
  }
}

async function answer(call: AnchorCall): Promise<AnchorReply> {
  try {
    return { ok: true, position: await perform(call) }
  } catch (error) {
    return { ok: false, error: toWire(error) }
  }
}

// A lease that cannot be renewed now may be renewed later; whoever has taken it over is met at the next move.
const timer = setInterval(() => {
  if (setup.grant.access !== "write") return
  client.renewLease(setup.policy, setup.grant).catch(() => undefined)
}, renewMs)

async function serve(call: AnchorCall): Promise<void> {
  const reply = await answer(call)
  if (call.verb === "close") clearInterval(timer)
  port.postMessage(reply)
  Atomics.add(signal, 0, 1)
  Atomics.notify(signal, 0)
  if (call.verb === "close") port.close()
}

port.on("message", (call: AnchorCall) => {
  void serve(call)
})
parentPort?.unref()
