import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads"
import { CofferError } from "../errors.ts"
import { workerUrl } from "../sys/index.ts"
import type { Anchor } from "../volume/index.ts"
import {
  type AnchorCall,
  type AnchorReply,
  type AnchorSetup,
  type AnchorTarget,
  fromWire,
} from "./anchor-protocol.ts"
import { moved, nameOf, nextOf, positionOf, stateOf, wordsToShow } from "./anchor-state.ts"
import type { VolumeGrant } from "./configuration.ts"
import { openEmbeddedAnchor } from "./embedded-anchor.ts"
import type { SignedHead } from "./head.ts"
import type { PositionReply } from "./requests.ts"
import { encodeSeen } from "./seen.ts"

const replyMs = 40_000

/** The CAS as a volume's anchor, for the thread that serves the filesystem. `close` gives the lease back. */
export function openCasAnchor(target: AnchorTarget, policy: string, grant: VolumeGrant): Anchor {
  return target.type === "embedded"
    ? openEmbeddedAnchor(target.dir, policy, grant)
    : openRemoteAnchor(target, policy, grant)
}

/** Calls wait for a worker thread, which talks to the CAS and keeps the lease. */
function openRemoteAnchor(
  target: AnchorSetup["target"],
  policy: string,
  grant: VolumeGrant,
): Anchor {
  const signal = new SharedArrayBuffer(4)
  const { port1, port2 } = new MessageChannel()
  const setup: AnchorSetup = { target, policy, grant, signal }
  const worker = new Worker(workerUrl("anchor", import.meta.url), {
    workerData: { setup, port: port2 },
    transferList: [port2],
  })
  worker.unref()
  port1.unref()
  const flag = new Int32Array(signal)
  let closed = false
  let lost = false
  let head: SignedHead | undefined
  let word: Uint8Array | undefined
  const ask = (call: AnchorCall): PositionReply | undefined => {
    // A reply that comes too late would be taken for the next one's: nothing is asked after it.
    if (lost) throw timedOut(policy, grant)
    const before = Atomics.load(flag, 0)
    port1.postMessage(call)
    const waited = Atomics.wait(flag, 0, before, replyMs)
    const received: { readonly message: AnchorReply } | undefined = receiveMessageOnPort(port1)
    if (received === undefined || waited === "timed-out") {
      lost = true
      throw timedOut(policy, grant)
    }
    const { message } = received
    if (!message.ok) throw fromWire(message.error)
    const newest = message.position?.head
    if (newest !== undefined && newest.sequence > (head?.sequence ?? -1)) {
      head = newest
      word = encodeSeen(newest)
    }
    return message.position
  }
  return {
    name: nameOf(policy, grant),
    read: () => stateOf(grant, ask({ verb: "current" })),
    move: (from, to) =>
      moved(() => ask({ verb: "move", expected: positionOf(from), next: nextOf(to) })),
    seen: () => word,
    requireNotBehind(words) {
      for (const seen of wordsToShow(words, grant)) ask({ verb: "current", seen })
    },
    close: () => {
      if (closed) return
      closed = true
      try {
        ask({ verb: "close" })
      } finally {
        port1.close()
      }
    },
  }
}

function timedOut(policy: string, grant: VolumeGrant): CofferError {
  return new CofferError(
    "io",
    `CAS anchor of ${policy}/${grant.name}: no reply within ${replyMs / 1000} s`,
    { reason: "anchor-timeout" },
  )
}
