import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads"
import { fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { workerUrl } from "../sys/index.ts"
import type { Anchor, AnchorState } from "../volume/index.ts"
import {
  type AnchorCall,
  type AnchorReply,
  type AnchorSetup,
  type AnchorTarget,
  fromWire,
} from "./anchor-protocol.ts"
import type { VolumeGrant } from "./configuration.ts"
import type { SignedHead } from "./head.ts"
import type { PositionReply } from "./requests.ts"
import { decodeSeen, encodeSeen } from "./seen.ts"
import { type Position, zeroTag } from "./volumes.ts"

const replyMs = 40_000

/**
 * The CAS as a volume's anchor, for the thread that serves the filesystem: calls wait for a worker thread, which talks to
 * the CAS and keeps the lease. `close` gives the lease back.
 */
export function openCasAnchor(target: AnchorTarget, policy: string, grant: VolumeGrant): Anchor {
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
    name: `CAS, volume ${policy}/${grant.name}/${grant.instance}`,
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

const shownMax = 8

/**
 * The chain's newest head, which is the first of `words`, and newer ones from beyond the chain, the newest first. An
 * authorised restore says that what was signed before it counts no more: that is how people leave a loss behind.
 */
function wordsToShow(words: readonly Uint8Array[], { restored }: VolumeGrant): SignedHead[] {
  const [first, ...rest] = words
    .map(decodeSeen)
    .filter(({ time }) => restored === undefined || time > restored.time)
  if (first === undefined) return []
  const newer = rest
    .filter(({ sequence }) => sequence > first.sequence)
    .toSorted((a, b) => b.sequence - a.sequence)
  return [first, ...newer].slice(0, shownMax)
}

/** A refusal because somebody else moved it is `false`, as `Anchor` wants it; all else is thrown. */
function moved(call: () => unknown): boolean {
  try {
    call()
    return true
  } catch (error) {
    if (error instanceof CofferError && error.code === "rollback") return false
    throw error
  }
}

function positionOf(state: AnchorState | "new"): Position {
  return state === "new"
    ? { sequence: 0, tag: zeroTag }
    : { sequence: state.sequence, tag: toHex(state.tag) }
}

function nextOf(state: AnchorState) {
  return {
    ...positionOf(state),
    hint: { segment: toHex(state.salt), offset: state.offset, opening: state.epoch },
  }
}

function stateOf(grant: VolumeGrant, position: PositionReply | undefined): AnchorState | "new" {
  if (position === undefined || position.state === "new") return "new"
  const { sequence, tag, hint } = position
  return {
    volumeId: bytes(grant.id),
    sequence,
    tag: bytes(tag),
    epoch: hint?.opening ?? 0,
    salt: bytes(hint?.segment ?? zeroTag),
    offset: hint?.offset ?? 0,
    ...(grant.restored?.to === tag ? { restoredFrom: bytes(grant.restored.from) } : {}),
  }
}

function bytes(hex: string): Uint8Array {
  const value = fromHex(hex)
  if (value === undefined) throw new TypeError("the schema lets only hex pass")
  return value
}
