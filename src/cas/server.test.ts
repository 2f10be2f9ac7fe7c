import assert from "node:assert/strict"
import { request } from "node:https"
import { after, test } from "node:test"
import { connect, type TLSSocket } from "node:tls"
import { Node, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { httpTransport } from "./http-transport.ts"
import { CasClient, type LogEvent, openEmbeddedCas, serveCas } from "./index.ts"

const place = scratch()
after(place.remove)
const alice = person()
const { cas } = await openEmbeddedCas(place.dir)
const log: LogEvent[] = []
const server = await serveCas({
  cas,
  host: "127.0.0.1",
  port: 0,
  pagePort: 0,
  log: (event) => log.push(event),
})
await putPolicy(cas, policyText(alice.public), [alice])
const client = new CasClient({
  transport: httpTransport(server.url, cas.identity.publicKey),
  casKey: cas.identity.publicKey,
  patience: 500,
})
const node = await new Node().prepare(client)
after(async () => {
  await client.close()
  await server.close()
  await cas.close()
})

interface Reply {
  readonly status: number
  readonly text: string
}

function send(
  path: string,
  body: string | Buffer,
  headers: Record<string, string> = { "content-type": "application/json" },
  method = "POST",
  base = server.url,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const call = request(
      new URL(path, base),
      {
        method,
        headers: { "content-length": String(Buffer.byteLength(body)), ...headers },
        rejectUnauthorized: false,
        agent: false,
      },
      (response) => {
        let text = ""
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => (text += chunk))
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }))
        response.on("error", reject)
      },
    )
    call.on("error", reject)
    call.end(body)
  })
}

test("over HTTPS: attest, move a tag, and refusals arrive as they were thrown", async () => {
  const answer = await client.attest({
    policy: "shop",
    service: "web",
    makeEvidence: (binding) => node.evidence(binding),
  })
  const grant = answer.volumes.find(({ name }) => name === "data")
  assert.ok(grant !== undefined)
  const next = { sequence: 1, tag: "11".repeat(32) }
  assert.equal((await client.moveTag("shop", grant, grant, next)).tag, next.tag)
  await assert.rejects(
    client.moveTag("shop", grant, grant, { sequence: 2, tag: "22".repeat(32) }),
    (error) => error instanceof CofferError && error.code === "rollback" && error.reason === "fork",
  )
  assert.equal((await client.info()).head.sequence, client.seen?.sequence)
})

test("a client with another pinned key sends nothing and says so", async () => {
  const other = randomBytes(32)
  const stranger = new CasClient({
    transport: httpTransport(server.url, other),
    casKey: other,
    patience: 0,
  })
  await assert.rejects(
    stranger.info(),
    (error) => error instanceof CofferError && error.reason === "cas-key",
  )
  await stranger.close()
})

test("a CAS that is not there is exit 6, with its address", async () => {
  const away = new CasClient({
    transport: httpTransport("https://127.0.0.1:1", cas.identity.publicKey),
    casKey: cas.identity.publicKey,
    patience: 0,
  })
  await assert.rejects(
    away.info(),
    (error) =>
      error instanceof CofferError &&
      error.code === "missing" &&
      error.message.includes("127.0.0.1:1"),
  )
  await away.close()
})

test("malformed, oversized, deep, duplicated, mistyped: an error each", async () => {
  const json = { "content-type": "application/json" }
  const cases: readonly (readonly [
    string,
    string | Buffer,
    Record<string, string>,
    number,
    string,
  ])[] = [
    ["/v1/info", "{", json, 400, "json-syntax"],
    ["/v1/info", "", json, 400, "json-syntax"],
    ["/v1/info", '{"a":1}', json, 400, "request-schema"],
    ["/v1/info", "[".repeat(100_000), json, 400, "json-depth"],
    ["/v1/attest", '{"policy":"shop","policy":"shop"}', json, 400, "json-duplicate"],
    ["/v1/attest", String.raw`{"policy":"a","\u0070olicy":"b"}`, json, 400, "json-duplicate"],
    ["/v1/info", "{}", { "content-type": "text/plain" }, 415, "content-type"],
    ["/v1/info", "{}", {}, 415, "content-type"],
    ["/v1/info", Buffer.from([0x22, 0xff, 0x22]), json, 400, "body-encoding"],
    ["/v1/acts", " ".repeat(4 * 1_048_576 + 1), json, 413, "body-size"],
    ["/v1/other", "{}", json, 404, "wanted a call"],
    [
      "/v1/attest",
      JSON.stringify({
        policy: "shop",
        service: "web",
        nonce: "00".repeat(32),
        evidence: {},
        volumes: [
          { name: "data", access: "write" },
          { name: "data", access: "read" },
        ],
      }),
      json,
      400,
      "each volume once",
    ],
    [
      "/v1/attest",
      '{"policy":"__proto__","service":"x","nonce":"00","evidence":{}}',
      json,
      400,
      "request-schema",
    ],
  ]
  for (const [path, body, headers, status, reason] of cases) {
    const reply = await send(path, body, headers)
    assert.equal(reply.status, status, `${path} ${reply.text}`)
    assert.ok(reply.text.includes(reason), reply.text)
  }
  assert.equal((await send("/healthz", "", {}, "GET")).status, 200)
  assert.equal((await send("/readyz", "", {}, "GET")).text, "ready\n")
})

test("bodies that do not come to an end share one budget; an address has its share of connections", async () => {
  const small = await serveCas({
    cas,
    host: "127.0.0.1",
    port: 0,
    bodies: 3_000_000,
    connections: 4,
    log: () => undefined,
  })
  const open: TLSSocket[] = []
  try {
    const url = new URL(small.url)
    const dial = () =>
      new Promise<TLSSocket | undefined>((resolve) => {
        const options = { host: url.hostname, port: Number(url.port), rejectUnauthorized: false }
        const socket = connect(options, () => resolve(socket))
        socket.on("error", () => resolve(undefined))
        open.push(socket)
      })
    const head = `POST /v1/acts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n`
    const half = async () => {
      const socket = await dial()
      socket?.write(head + " ".repeat(1_600_000))
      return socket
    }
    await half()
    const second = await half()
    const answer = await new Promise<string>((resolve) =>
      second?.once("data", (data: Buffer) => resolve(data.toString())),
    )
    assert.match(answer, /^HTTP\/1\.1 503[^]*"busy"/)
    await Promise.all([dial(), dial(), dial(), dial()])
    assert.equal(await dial(), undefined)
    for (const socket of open) socket.destroy()
    // What was taken is given back.
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.equal(
      (await send("/v1/info", "{}", { "content-type": "application/json" }, "POST", small.url))
        .status,
      200,
    )
  } finally {
    for (const socket of open) socket.destroy()
    await small.close()
  }
})

test("too many requests of one address are refused, GET too", async () => {
  const slow = await serveCas({
    cas,
    host: "127.0.0.1",
    port: 0,
    rate: 0.001,
    log: () => undefined,
  })
  try {
    const json = { "content-type": "application/json" }
    assert.equal((await send("/v1/acts", "{}", json, "POST", slow.url)).status, 400)
    const second = await send("/v1/info", "{}", json, "POST", slow.url)
    assert.equal(`${second.status} ${second.text.includes("rate-limit")}`, "429 true")
    assert.equal((await send("/healthz", "", {}, "GET", slow.url)).status, 429)
  } finally {
    await slow.close()
  }
})

test("the OpenAPI document names every call", async () => {
  const document = JSON.parse((await send("/openapi.json", "", {}, "GET")).text) as {
    readonly openapi: string
    readonly paths: Record<string, unknown>
  }
  assert.equal(document.openapi, "3.1.0")
  assert.ok("/v1/attest" in document.paths && "/v1/tags/move" in document.paths)
})

test("a client that never finishes its headers is cut off", async () => {
  const url = new URL(server.url)
  const begin = Date.now()
  const socket = await new Promise<TLSSocket>((resolve, reject) => {
    const made = connect(
      { host: url.hostname, port: Number(url.port), rejectUnauthorized: false },
      () => resolve(made),
    )
    made.on("error", reject)
  })
  socket.on("error", () => undefined)
  socket.write("POST /v1/info HTTP/1.1\r\nhost: x\r\n")
  const drip = setInterval(() => socket.write("x-a: b\r\n"), 500)
  await new Promise<void>((resolve) => socket.on("close", () => resolve()).resume())
  clearInterval(drip)
  assert.ok(Date.now() - begin < 9000)
})

test("fuzzed requests: an error each, and the CAS still answers", async () => {
  const seeds = [
    JSON.stringify({
      policy: "shop",
      service: "web",
      nonce: "00".repeat(32),
      evidence: { version: 1 },
    }),
    "{}",
    '{"act":{},"signatures":[]}',
  ]
  const paths = ["/v1/attest", "/v1/tags/move", "/v1/acts", "/v1/challenge", "/v1/leases/renew"]
  for (let i = 0; i < 300; i += 1) {
    const bytes = Buffer.from(seeds[i % seeds.length] ?? "")
    for (const [n, at] of randomBytes(4).entries())
      bytes[at % bytes.length] = randomBytes(4)[n] ?? 0
    const { status, text } = await send(paths[i % paths.length] ?? "", bytes)
    assert.ok(
      status === 200 || (status >= 400 && status < 500),
      `${status} ${text} ${bytes.toString("latin1")}`,
    )
  }
  assert.equal((await client.info()).cas, cas.identity.name)
})

test("the page has no secret, a strict content policy, and the log has only its fields", async () => {
  assert.ok(server.pageUrl !== undefined)
  const answer = await client.attest({
    policy: "shop",
    service: "web",
    volumes: [],
    makeEvidence: (binding) => node.evidence(binding),
  })
  const secrets = [
    answer.env["TOKEN"] ?? "?",
    Buffer.from(answer.files[0]?.content ?? "", "base64")
      .toString()
      .slice(-60, -40),
  ]
  const texts = [JSON.stringify(log)]
  for (const path of ["/", "/page.js", "/page.css", "/api/overview", "/api/audit", "/metrics"]) {
    const { status, text } = await send(path, "", {}, "GET", server.pageUrl)
    assert.equal(status, 200, path)
    texts.push(text)
  }
  for (const secret of secrets) for (const text of texts) assert.ok(!text.includes(secret))
  for (const event of log)
    assert.deepEqual(Object.keys(event).toSorted(), [
      "event",
      "ms",
      "path",
      "reason",
      "remote",
      "status",
    ])
})
