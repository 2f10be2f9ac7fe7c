import type { IncomingMessage, ServerResponse } from "node:http"
import type { Server } from "node:https"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { getRequestListener } from "@hono/node-server"
import { type Context, Hono } from "hono"
import { CofferError, fromSystem } from "../errors.ts"
import { BodyBudget } from "./body-budget.ts"
import { type Cas, casVersion } from "./cas.ts"
import { Metrics } from "./metrics.ts"
import { mountPage } from "./page/routes.ts"
import { answerPost, errorBody, replyHeaders, send, tooMany } from "./post.ts"
import { networkOf, type Rate, RateLimit } from "./rate-limit.ts"
import { openApiDocument, routeOf } from "./routes.ts"
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
  /** Requests per second and address; default 20,000. An attestation counts for 20, an act for 200. */
  readonly rate?: number
  /** Connections of one address at a time; default 512. */
  readonly connections?: number
  /** Bytes of request bodies under way, of all connections; default 64 MiB. */
  readonly bodies?: number
  log(event: LogEvent): void
}

export interface CasServer {
  /** `https://HOST:PORT` */
  readonly url: string
  readonly pageUrl: string | undefined
  /** Stops listening, waits for requests under way (5 s), closes connections. The CAS stays open. */
  close(): Promise<void>
}

/** Serves a CAS over HTTPS. */
export async function serveCas(options: ServerOptions): Promise<CasServer> {
  const metrics = new Metrics()
  const tls = makeServerTls(
    options.cas.identity,
    [options.host, ...(options.names ?? [])],
    Date.now(),
  )
  const api = await listen(
    apiOf(options.cas),
    postHandler(options, metrics),
    tls,
    options.host,
    options.port,
  )
  const pageHost = options.pageHost ?? "127.0.0.1"
  const page =
    options.pagePort === undefined
      ? undefined
      : await listen(pageOf(options.cas, metrics), undefined, tls, pageHost, options.pagePort)
  limitConnections(api, options.connections ?? 512)
  const following = setInterval(() => {
    options.cas.keepUp().catch(() => undefined) // the next request says what is wrong
  }, 2000)
  return {
    url: urlOf(api, options.host),
    pageUrl: page === undefined ? undefined : urlOf(page, pageHost),
    close: async () => {
      clearInterval(following)
      await Promise.all([stop(api), page === undefined ? undefined : stop(page)])
    },
  }
}

/** One address cannot take all the connections that there are. */
function limitConnections(server: Server, most: number): void {
  const open = new Map<string, number>()
  server.on("connection", (socket) => {
    const key = networkOf(socket.remoteAddress ?? "")
    const count = (open.get(key) ?? 0) + 1
    if (count > most) {
      socket.destroy()
      return
    }
    open.set(key, count)
    socket.once("close", () => {
      const left = (open.get(key) ?? 1) - 1
      if (left === 0) open.delete(key)
      else open.set(key, left)
    })
  })
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`
}

async function listen(
  app: Hono,
  first: Handler | undefined,
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
      if (first?.(incoming, outgoing) !== true) void listener(incoming, outgoing)
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

function apiOf(cas: Cas): Hono {
  const app = new Hono()
  const document = JSON.stringify(openApiDocument(casVersion))
  app.get("/openapi.json", (context) =>
    context.body(document, 200, { "content-type": "application/json" }),
  )
  app.get("/healthz", (context) => context.text("ok\n"))
  app.get("/readyz", async (context) => await ready(cas, context))
  const unknown = new CofferError("config", "wanted a call of the protocol, found another path", {
    hint: "see /openapi.json",
  })
  app.notFound((context) => context.body(errorBody(unknown), 404, replyHeaders))
  return app
}

async function ready(cas: Cas, context: Context): Promise<Response> {
  try {
    await cas.keepUp()
    return context.text("ready\n")
  } catch {
    return context.text("the database does not answer, or is behind\n", 503)
  }
}

/** Calls of the protocol; false: another path, for somebody else. The limits are for all. */
function postHandler(options: ServerOptions, metrics: Metrics): Handler {
  const limit = new RateLimit(rateOf(options.rate ?? 20_000))
  const budget = new BodyBudget(options.bodies ?? 64 * 1_048_576)
  return (incoming, outgoing) => {
    const route = incoming.method === "POST" ? routeOf(incoming.url ?? "") : undefined
    const from = incoming.socket.remoteAddress ?? ""
    const allowed = limit.allows(from, route?.cost ?? 1)
    if (route === undefined) {
      if (!allowed) send(outgoing, tooMany)
      return !allowed
    }
    void (async () => {
      const begin = performance.now()
      const answered = await answerPost(options.cas, route, incoming, { from, allowed, budget })
      send(outgoing, answered)
      const ms = performance.now() - begin
      const { status, reason } = answered
      metrics.count(route.path, status, reason, ms)
      options.log({
        event: "request",
        path: route.path,
        status,
        reason,
        ms: Math.round(ms * 10) / 10,
        remote: from,
      })
    })()
    return true
  }
}

function rateOf(perSecond: number): Rate {
  return { burst: Math.max(1, perSecond), perSecond }
}

type Handler = (incoming: IncomingMessage, outgoing: ServerResponse) => boolean

function pageOf(cas: Cas, metrics: Metrics): Hono {
  const app = new Hono()
  app.get("/metrics", (context) => context.text(metrics.text()))
  mountPage(app, cas)
  return app
}
