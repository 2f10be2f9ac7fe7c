import { Agent, request } from "node:https"
import type { TLSSocket } from "node:tls"
import { connect } from "node:tls"
import { CofferError, fromSystem } from "../errors.ts"
import type { Transport } from "./client.ts"
import { errorSchema } from "./routes.ts"
import { requirePinned } from "./tls.ts"

const maxReply = 32 * 1_048_576
const timeoutMs = 35_000

/** `https://HOST:PORT`, over kept-alive connections, each of which shows the pinned CAS before it carries a byte of ours. */
export function httpTransport(url: string, casKey: Uint8Array): Transport {
  const base = baseOf(url)
  const pending = new Set<TLSSocket>()
  const agent = pinningAgent(casKey, pending)
  return {
    call: async (path, body) => {
      const text = JSON.stringify(body)
      const { status, reply } = await post(new URL(path, base), agent, text)
      if (status === 200) return parseJson(reply, url)
      throw errorOf(status, parseJson(reply, url))
    },
    close: () => {
      agent.destroy()
      for (const socket of pending) socket.destroy(new CofferError("io", `CAS at ${url}: given up`))
      return Promise.resolve()
    },
  }
}

function baseOf(url: string): URL {
  const base = URL.canParse(url) ? new URL(url) : undefined
  if (base?.protocol === "https:" && base.username === "" && base.pathname === "/") return base
  throw new CofferError(
    "usage",
    `CAS address: wanted https://HOST:PORT, found ${JSON.stringify(url)}`,
  )
}

/** `pending`: connections that the agent does not know yet; who closes it ends them, or they keep the process waiting. */
function pinningAgent(casKey: Uint8Array, pending: Set<TLSSocket>): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 64, keepAliveMsecs: 30_000 })
  agent.createConnection = (options, callback) => {
    // The certificate is self-made: what it must have is the signature of the pinned CAS, checked below, on every
    // connection, before the request is handed to the socket.
    const host = "host" in options && typeof options.host === "string" ? options.host : "localhost"
    const port = "port" in options ? Number(options.port) : 443
    const socket: TLSSocket = connect({
      host,
      port,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["http/1.1"],
    })
    const failed = (error: Error): void => callback?.(error, socket)
    pending.add(socket)
    socket.once("close", () => pending.delete(socket))
    socket.once("error", failed)
    socket.setTimeout(timeoutMs, () => socket.destroy(noReply(`CAS at ${host}:${port}`)))
    socket.once("secureConnect", () => {
      pending.delete(socket)
      socket.setTimeout(0)
      socket.off("error", failed)
      try {
        requirePinned(socket.getPeerCertificate().raw, casKey)
        callback?.(null, socket)
      } catch (error) {
        socket.destroy()
        callback?.(error instanceof Error ? error : new Error(String(error)), socket)
      }
    })
    return undefined
  }
  return agent
}

interface Reply {
  readonly status: number
  readonly reply: string
}

function post(url: URL, agent: Agent, text: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    }
    const call = request(
      url,
      { method: "POST", agent, headers, timeout: timeoutMs },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on("data", (chunk: Buffer) => {
          size += chunk.length
          if (size > maxReply)
            call.destroy(
              new CofferError("io", `CAS reply: wanted at most ${maxReply} bytes, found more`),
            )
          chunks.push(chunk)
        })
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            reply: Buffer.concat(chunks).toString("utf8"),
          }),
        )
        response.on("error", (error) => reject(networkError(error, url)))
      },
    )
    call.on("timeout", () => call.destroy(noReply(`CAS at ${url.origin}`)))
    call.on("error", (error) => reject(networkError(error, url)))
    call.end(text)
  })
}

function noReply(who: string): CofferError {
  return new CofferError("io", `${who}: no reply within ${timeoutMs / 1000} s`, {
    reason: "cas-timeout",
  })
}

function networkError(error: Error, url: URL): Error {
  if (error instanceof CofferError) return error
  return fromSystem(error, `CAS at ${url.origin}`, "is it running, and is the address right?")
}

function parseJson(text: string, url: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CofferError("io", `CAS at ${url}: wanted a JSON reply, found something else`, {
      cause,
      reason: "cas-reply",
    })
  }
}

/** The CAS's own error, as if it had been thrown here. A busy or stopping server is `io`, so that it is asked again. */
function errorOf(status: number, reply: unknown): CofferError {
  const parsed = errorSchema.safeParse(reply)
  if (!parsed.success)
    return new CofferError("io", `CAS: wanted a reply of the protocol, found status ${status}`, {
      reason: "cas-reply",
    })
  const { code, message, reason, hint, facts } = parsed.data.error
  return new CofferError(code, message, {
    ...(reason === undefined ? {} : { reason }),
    ...(hint === undefined ? {} : { hint }),
    ...(facts === undefined ? {} : { facts }),
  })
}
