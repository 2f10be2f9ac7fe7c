/** 100,000 mutated requests: an error each, no crash, no secret in any log or reply. */
import assert from "node:assert/strict"
import { Agent, request } from "node:https"
import { after, test } from "node:test"
import { type Cas, openEmbeddedCas, serveCas, type VolumeGrant } from "../../src/cas/index.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { act, Node, person, policyText, putPolicy, scratch } from "../support/cas.ts"

const place = scratch()
after(place.remove)
const count = Number(process.env["COFFER_FUZZ"] ?? 100_000)
const tokens = [
  '"',
  "{",
  "}",
  "[",
  "]",
  ":",
  ",",
  "null",
  "-1",
  "1e999",
  "__proto__",
  "\\u0000",
  "true",
  "0",
  '""',
]

function below(limit: number): number {
  return new DataView(randomBytes(4).buffer).getUint32(0) % limit
}

function mutate(seed: string): Buffer {
  const bytes = Buffer.from(seed)
  const at = below(bytes.length)
  switch (below(4)) {
    case 0:
      bytes[at] = below(256)
      return bytes
    case 1:
      return bytes.subarray(0, at)
    case 2:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(tokens[below(tokens.length)] ?? ""),
        bytes.subarray(at),
      ])
    default:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(bytes.length))])
  }
}

function poster(agent: Agent, base: string) {
  return (path: string, body: Buffer) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const call = request(
        new URL(path, base),
        {
          method: "POST",
          agent,
          headers: { "content-type": "application/json", "content-length": String(body.length) },
        },
        (response) => {
          let text = ""
          response
            .setEncoding("utf8")
            .on("data", (chunk: string) => (text += chunk))
            .on("end", () => resolve({ status: response.statusCode ?? 0, text }))
        },
      )
      call.on("error", reject)
      call.end(body)
    })
}

/** Good requests of each kind but for their nonce, token or signer. */
function seedsOf(
  cas: Cas,
  grant: VolumeGrant,
  evidence: unknown,
): readonly (readonly [string, string])[] {
  const place32 = {
    policy: "shop",
    volume: grant.name,
    instance: 0,
    id: grant.id,
    token: "00".repeat(32),
    epoch: 1,
  }
  const at = { sequence: 0, tag: "00".repeat(32) }
  return [
    [
      "/v1/attest",
      JSON.stringify({ policy: "shop", service: "web", nonce: "00".repeat(32), evidence }),
    ],
    ["/v1/tags/move", JSON.stringify({ ...place32, expected: at, next: { ...at, sequence: 1 } })],
    ["/v1/tags/current", JSON.stringify({ ...place32, access: "write" })],
    ["/v1/leases/renew", JSON.stringify(place32)],
    [
      "/v1/acts",
      JSON.stringify(
        act(
          cas,
          "shop",
          { verb: "restore-volume", volume: "data", instance: 0, current: at, target: at },
          [person()],
        ),
      ),
    ],
  ]
}

/** The lines of private keys in PEM. */
function privateLines(text: string): string[] {
  const keys = text.match(/-----BEGIN PRIVATE KEY-----\n[^-]+/g) ?? []
  return keys.flatMap((key) => key.split("\n").slice(1, -1))
}

test(`${count} fuzzed requests`, async () => {
  const { cas, client } = await openEmbeddedCas(place.dir)
  const log: string[] = []
  const server = await serveCas({
    cas,
    host: "127.0.0.1",
    port: 0,
    rate: 1e9,
    log: (event) => log.push(JSON.stringify(event)),
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 16, rejectUnauthorized: false })
  const send = poster(agent, server.url)
  try {
    const alice = person()
    await putPolicy(cas, policyText(alice.public), [alice])
    const node = await new Node().prepare(client)
    let evidence: unknown
    const answer = await client.attest({
      policy: "shop",
      service: "web",
      makeEvidence: (binding) => (evidence = node.evidence(binding)),
    })
    const [grant] = answer.volumes
    assert.ok(grant !== undefined)
    const seeds = seedsOf(cas, grant, evidence)
    const files = answer.files.map(({ content }) => Buffer.from(content, "base64").toString())
    const secrets = [
      answer.env["TOKEN"] ?? "?",
      ...answer.volumes.flatMap(({ token, keys }) => [token, ...keys.map(({ key }) => key)]),
      ...files.flatMap((text) => privateLines(text)),
    ]
    assert.ok(secrets.length > 6)
    let left = count
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (left > 0) {
          left -= 1
          const [path, seed] = seeds[below(seeds.length)] ?? ["/v1/info", "{}"]
          const body = mutate(seed)
          const { status, text } = await send(path, body)
          assert.ok(status >= 400 && status < 500, `${status} ${text} ${body.toString("latin1")}`)
          for (const secret of secrets) assert.ok(!text.includes(secret))
        }
      }),
    )
    assert.equal((await client.info()).cas, cas.identity.name)
    const seen = [...log, ...(await cas.auditLines(1, 100_000))].join("\n")
    for (const secret of secrets) assert.ok(!seen.includes(secret))
    await cas.verify()
  } finally {
    agent.destroy()
    await server.close()
    await cas.close()
  }
})
