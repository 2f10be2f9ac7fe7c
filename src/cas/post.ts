/** Hot path: every call of the protocol. Straight from the socket: a web framework's objects cost as much as the work. */
import type { IncomingMessage, ServerResponse } from "node:http"
import { CofferError, type ErrorCode } from "../errors.ts"
import type { BodyBudget } from "./body-budget.ts"
import type { Cas } from "./cas.ts"
import type { Route } from "./routes.ts"
import { parseStrictJson } from "./strict-json.ts"

const maxBody = 4 * 1_048_576

const statusOf: Readonly<Record<ErrorCode, number>> = {
  usage: 400,
  config: 400,
  refused: 403,
  missing: 503,
  rollback: 409,
  integrity: 500,
  io: 503,
  fault: 500,
}

export interface Answered {
  readonly status: number
  readonly body: string
  readonly reason: string
}

/** Who sends, and what the server has for them. */
export interface Arrival {
  readonly from: string
  readonly allowed: boolean
  readonly budget: BodyBudget
}

/** Reads, performs and answers one call; never throws. */
export async function answerPost(
  cas: Cas,
  route: Route,
  incoming: IncomingMessage,
  { from, allowed, budget }: Arrival,
): Promise<Answered> {
  if (!allowed) return tooMany
  const type = incoming.headers["content-type"]?.split(";")[0]?.trim().toLowerCase()
  if (type !== "application/json")
    return failure(
      new CofferError("config", "content type: wanted application/json, found another", {
        reason: "content-type",
      }),
      415,
    )
  try {
    const body = await bodyOf(incoming, budget)
    if (body === undefined) return failure(tooLarge, 413)
    const reply = await route.call(cas, parseStrictJson(textOf(body)), from)
    return { status: 200, body: JSON.stringify(reply), reason: "" }
  } catch (error) {
    // What is not a CofferError is a fault of ours, and its words could hold anything: they stay here.
    const known =
      error instanceof CofferError
        ? error
        : new CofferError("fault", "a fault of the CAS's own", { reason: "fault" })
    return failure(known, statusOf[known.code])
  }
}

export const tooMany = failure(
  new CofferError("io", "too many requests from this address", { reason: "rate-limit" }),
  429,
)

const noRoom = new CofferError("io", "too many request bodies at a time", {
  reason: "busy",
  hint: "ask again a little later",
})

const tooLarge = new CofferError(
  "config",
  `request body: wanted at most ${maxBody} bytes, found more`,
  { reason: "body-size" },
)

function failure(error: CofferError, status: number): Answered {
  return { status, body: errorBody(error), reason: error.reason ?? error.code }
}

export function errorBody({ code, reason, message, hint, facts }: CofferError): string {
  return JSON.stringify({ error: { code, reason, message, hint, facts } })
}

/** The whole body, never more than the limits in memory; undefined when it is larger than one may be. */
async function bodyOf(incoming: IncomingMessage, budget: BodyBudget): Promise<Buffer | undefined> {
  if (Number(incoming.headers["content-length"] ?? 0) > maxBody) return undefined
  const held = { size: 0 }
  try {
    return await collect(incoming, budget, held)
  } finally {
    budget.give(held.size)
  }
}

/** `held.size`: what was taken from the budget so far. */
function collect(
  incoming: IncomingMessage,
  budget: BodyBudget,
  held: { size: number },
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    incoming.on("data", (chunk: Buffer) => {
      const fits = held.size + chunk.length <= maxBody
      if (fits && budget.take(chunk.length)) {
        held.size += chunk.length
        chunks.push(chunk)
        return
      }
      incoming.pause()
      if (fits) reject(noRoom)
      else resolve(undefined)
    })
    incoming.on("end", () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)))
    incoming.on("error", reject)
    incoming.on("close", () => reject(new CofferError("io", "request body: the client has gone")))
  })
}

const decoder = new TextDecoder("utf-8", { fatal: true })

function textOf(body: Buffer): string {
  try {
    return decoder.decode(body)
  } catch {
    throw new CofferError("config", "request body: wanted UTF-8, found something else", {
      reason: "body-encoding",
    })
  }
}

export const replyHeaders = {
  "content-type": "application/json",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
} as const

export function send(outgoing: ServerResponse, { status, body }: Answered): void {
  // The rest of a body that was not read is not waited for.
  const headers =
    status === 413 || status === 503
      ? { ...replyHeaders, connection: "close" as const }
      : replyHeaders
  outgoing.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) })
  outgoing.end(body)
}
