import type { Server } from "node:https"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { getRequestListener } from "@hono/node-server"
import { type Context, Hono } from "hono"
import { CofferError, type ErrorCode, fromSystem } from "../errors.ts"
import { type Cas, casVersion } from "./cas.ts"
import { Metrics } from "./metrics.ts"
import { mountPage } from "./page/routes.ts"
import { RateLimit } from "./rate-limit.ts"
import { openApiDocument, type Route, routes } from "./routes.ts"
import { parseStrictJson } from "./strict-json.ts"
import { makeServerTls } from "./tls.ts"

/** One line of the log. It has these fields and no other, so no secret can get into it. */
export interface LogEvent {
  readonly event: "request" | "started" | "stopped"
  readonly path: string
  readonly status: number
  readonly reason: string
  readonly ms: number
  readonly remote: string
}

export interface ServerOptions {
  readonly cas: Cas
  readonly host: string
  readonly port: number
  /** Where people look: page, metrics. Undefined: nowhere. */
  readonly pagePort?: number
  readonly pageHost?: string
  /** More names for the certificate. */
  readonly names?: readonly string[]
  /** Requests per second and address; default 20,000. */
  readonly rate?: number
  log(event: LogEvent): void
}

export interface CasServer {
  /** `https://HOST:PORT` */
  readonly url: string
  readonly pageUrl: string | undefined
  /** Stops listening, waits for requests under way (5 s), closes connections. The CAS stays open. */
  close(): Promise<void>
}

const maxBody = 4 * 1_048_576

const statusOf: Readonly<Record<ErrorCode, 400 | 403 | 404 | 409 | 500 | 503>> = {
  usage: 400,
  config: 400,
  refused: 403,
  missing: 503,
  rollback: 409,
  integrity: 500,
  io: 503,
  fault: 500,
}

/** Serves a CAS over HTTPS. */
export async function serveCas(options: ServerOptions): Promise<CasServer> {
  const metrics = new Metrics()
  const tls = makeServerTls(
    options.cas.identity,
    [options.host, ...(options.names ?? [])],
    Date.now(),
  )
  const api = await listen(apiOf(options, metrics), tls, options.host, options.port)
  const pageHost = options.pageHost ?? "127.0.0.1"
  const page =
    options.pagePort === undefined
      ? undefined
      : await listen(pageOf(options.cas, metrics), tls, pageHost, options.pagePort)
  return {
    url: urlOf(api, options.host),
    pageUrl: page === undefined ? undefined : urlOf(page, pageHost),
    close: async () => {
      await Promise.all([stop(api), page === undefined ? undefined : stop(page)])
    },
  }
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`
}

async function listen(
  app: Hono,
  tls: { readonly key: string; readonly cert: string },
  host: string,
  port: number,
): Promise<Server> {
  // X comes from the adversary: headers, their number, their pace. Node closes what is too slow or too much.
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  const server = createServer(
    {
      ...tls,
      minVersion: "TLSv1.3",
      maxHeaderSize: 8192,
      headersTimeout: 5000,
      requestTimeout: 15_000,
      keepAliveTimeout: 75_000,
      connectionsCheckingInterval: 1000,
      handshakeTimeout: 5000,
    },
    (incoming, outgoing) => {
      void listener(incoming, outgoing)
    },
  )
  server.maxHeadersCount = 64
  server.maxConnections = 4096
  server.on("tlsClientError", (_error, socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(fromSystem(error, `listening on ${host}:${port}`)))
    server.listen(port, host, resolve)
  })
  return server
}

async function stop(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const force = setTimeout(() => server.closeAllConnections(), 5000)
  await closed
  clearTimeout(force)
}

function remoteOf(context: Context): string {
  const env: unknown = context.env
  if (typeof env !== "object" || env === null || !("incoming" in env)) return ""
  const { incoming } = env as {
    readonly incoming: { readonly socket?: { readonly remoteAddress?: string } }
  }
  return incoming.socket?.remoteAddress ?? ""
}

function apiOf(options: ServerOptions, metrics: Metrics): Hono {
  const { cas } = options
  const app = new Hono()
  const limit = new RateLimit(options.rate ?? 20_000)
  const document = JSON.stringify(openApiDocument(casVersion))
  app.get("/openapi.json", (context) =>
    context.body(document, 200, { "content-type": "application/json" }),
  )
  app.get("/healthz", (context) => context.text("ok\n"))
  app.get("/readyz", async (context) => await ready(cas, context))
  for (const one of routes)
    app.post(one.path, async (context) => {
      const begin = performance.now()
      const remote = remoteOf(context)
      const { status, body, reason } = await answer(one, cas, context, limit.allows(remote))
      const ms = performance.now() - begin
      metrics.count(one.path, status, reason, ms)
      options.log({
        event: "request",
        path: one.path,
        status,
        reason,
        ms: Math.round(ms * 10) / 10,
        remote,
      })
      return context.body(body, status, replyHeaders)
    })
  app.notFound((context) =>
    context.body(
      errorBody(
        new CofferError("config", "wanted a call of the protocol, found another path", {
          hint: "see /openapi.json",
        }),
      ),
      404,
      replyHeaders,
    ),
  )
  return app
}

const replyHeaders = {
  "content-type": "application/json",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
}

async function ready(cas: Cas, context: Context): Promise<Response> {
  try {
    await cas.head()
    return context.text("ready\n")
  } catch {
    return context.text("the database does not answer, or is behind\n", 503)
  }
}

interface Answered {
  readonly status: 200 | 400 | 403 | 404 | 409 | 413 | 415 | 429 | 500 | 503
  readonly body: string
  readonly reason: string
}

async function answer(one: Route, cas: Cas, context: Context, allowed: boolean): Promise<Answered> {
  if (!allowed)
    return failure(
      429,
      new CofferError("io", "too many requests from this address", { reason: "rate-limit" }),
    )
  const type = context.req.header("content-type")?.split(";")[0]?.trim().toLowerCase()
  if (type !== "application/json")
    return failure(
      415,
      new CofferError("config", "content type: wanted application/json, found another", {
        reason: "content-type",
      }),
    )
  try {
    const text = await bodyOf(context)
    if (text === undefined)
      return failure(
        413,
        new CofferError("config", `request body: wanted at most ${maxBody} bytes, found more`, {
          reason: "body-size",
        }),
      )
    const reply = await one.call(cas, parseStrictJson(text))
    return { status: 200, body: JSON.stringify(reply), reason: "" }
  } catch (error) {
    // What is not a CofferError is a fault of ours, and its words could hold anything: they stay here.
    const known =
      error instanceof CofferError
        ? error
        : new CofferError("fault", "a fault of the CAS's own", { reason: "fault" })
    return failure(statusOf[known.code], known)
  }
}

function failure(status: Answered["status"], error: CofferError): Answered {
  return { status, body: errorBody(error), reason: error.reason ?? error.code }
}

function errorBody({ code, reason, message, hint, facts }: CofferError): string {
  return JSON.stringify({ error: { code, reason, message, hint, facts } })
}

const decoder = new TextDecoder("utf-8", { fatal: true })

/** The whole body, never more than the limit in memory; undefined when it is larger. */
async function bodyOf(context: Context): Promise<string | undefined> {
  const declared = Number(context.req.header("content-length") ?? 0)
  if (declared > maxBody) return undefined
  const stream = context.req.raw.body
  if (stream === null) return ""
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > maxBody) return undefined
    chunks.push(chunk)
  }
  try {
    return decoder.decode(Buffer.concat(chunks))
  } catch {
    throw new CofferError("config", "request body: wanted UTF-8, found something else", {
      reason: "body-encoding",
    })
  }
}

function pageOf(cas: Cas, metrics: Metrics): Hono {
  const app = new Hono()
  app.get("/metrics", (context) => context.text(metrics.text()))
  mountPage(app, cas)
  return app
}
