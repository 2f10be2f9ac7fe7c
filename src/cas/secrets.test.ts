import assert from "node:assert/strict"
import { X509Certificate } from "node:crypto"
import { after, test } from "node:test"
import { mrEnclave, Node, person, putPolicy, scratch } from "../../test/support/cas.ts"
import { CofferError } from "../errors.ts"
import { openEmbeddedCas } from "./index.ts"

const place = scratch()
after(place.remove)
const alice = person()
let clock = Date.now()
const { cas, client } = await openEmbeddedCas(place.dir, { now: () => clock })
after(() => cas.close())
const node = await new Node().prepare(client)

/** One service that shows each of `shown` (NAME or NAME:PART) in a file of its own, `raw` as it is. */
function text(name: string, secrets: string, shown: readonly string[], predecessor = ""): string {
  const files = shown.map((one, i) => `      /s/${i}: { content: "$$secret:${one}$$" }\n`).join("")
  return `version: 1
name: ${name}
${predecessor === "" ? "" : `predecessor: "${predecessor}"\n`}services:
  web:
    measurements: ["${mrEnclave}"]
    platforms: [dev]
    files:
${files}platforms: { dev: { type: insecure-sim } }
secrets:
${secrets}access: { keys: { alice: "${alice.public}" }, update: { of: [alice] } }
`
}

const hashes = new Map<string, string>()

/** Creates or updates. */
async function put(
  name: string,
  secrets: readonly string[],
  shown: readonly string[],
  given: Readonly<Record<string, string>> = {},
): Promise<void> {
  const lines = secrets.map((line) => `  ${line}\n`).join("")
  const values = Object.fromEntries(
    Object.entries(given).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
  )
  const document = text(name, lines, shown, hashes.get(name))
  const { result } = await putPolicy(cas, document, [alice], values, clock)
  assert.ok(result.verb === "put-policy")
  hashes.set(name, result.hash)
}

async function shows(name: string): Promise<Buffer[]> {
  await node.prepare(client)
  const { files } = await client.attest({
    policy: name,
    service: "web",
    makeEvidence: (binding) => node.evidence(binding),
  })
  return files.map(({ content }) => Buffer.from(content, "base64"))
}

async function refuses(work: Promise<unknown>, sentence: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof CofferError)
    assert.match(error.message, sentence)
    return true
  })
}

test("each kind in each of its parts", async () => {
  const kinds = [
    "r: { kind: random, size: 16 }",
    "a: { kind: ascii, size: 12 }",
    "g: { kind: given }",
  ]
  const parts = ["r", "r:hex", "r:base64", "r:raw", "a", "a:hex", "g", "g:base64", "g:raw"]
  const value = 'tab\tquote"$$secret:a$$'
  await put("kinds", kinds, parts, { g: value })
  const [r, hex, base64, raw, a, aHex, g, g64, gRaw] = await shows("kinds")
  assert.ok(raw?.length === 16)
  assert.deepEqual([r, hex, base64].map(String), [
    raw.toString("hex"),
    raw.toString("hex"),
    raw.toString("base64"),
  ])
  assert.match(String(a), /^[A-Za-z0-9]{12}$/)
  assert.equal(String(aHex), a?.toString("hex"))
  // What is put in is not searched again.
  assert.deepEqual([g, gRaw].map(String), [value, value])
  assert.equal(String(g64), Buffer.from(value).toString("base64"))
})

test("a value stays while its description stays; what is new, changed or given again is new", async () => {
  const [a, b] = ["a: { kind: ascii, size: 12 }", "b: { kind: ascii, size: 12 }"]
  await put("keep", [a, b, "g: { kind: given }"], ["a", "b", "g"], { g: "one" })
  const before = (await shows("keep")).map(String)
  await put("keep", ["a: { kind: ascii, size: 13 }", b, "g: { kind: given }"], ["a", "b", "g"])
  const second = (await shows("keep")).map(String)
  assert.notEqual(second[0], before[0])
  assert.deepEqual(second.slice(1), before.slice(1))
  await put("keep", [b, "g: { kind: given, maxSize: 100 }"], ["b", "g"], { g: "two" })
  assert.deepEqual((await shows("keep")).map(String), [before[1], "two"])
  // Taken out and put in again: the old value is gone.
  await put("keep", [a, "g: { kind: given, maxSize: 100 }"], ["a", "g"])
  await put("keep", [a, b, "g: { kind: given, maxSize: 100 }"], ["b"])
  assert.notEqual(String((await shows("keep"))[0]), before[1])
  await refuses(put("keep", [a, "n: { kind: given }"], ["a"]), /secrets\.n: wanted its value/)
  await refuses(
    put("keep", [a, "n: { kind: given, maxSize: 2 }"], ["a"], { n: "three" }),
    /secrets\.n: wanted its value, at most 2 bytes, found 5 bytes/,
  )
})

async function look(): Promise<X509Certificate> {
  const [cert = Buffer.of(), authority = Buffer.of()] = await shows("tls")
  const [one, two] = [new X509Certificate(cert), new X509Certificate(authority)]
  assert.ok(one.verify(two.publicKey) && one.checkIssued(two))
  assert.ok(one.validToDate.getTime() <= two.validToDate.getTime())
  return one
}

test("a leaf is renewed in its last days, with its authority's signature, and never outlives it", async () => {
  const ca = "ca: { kind: x509-ca, commonName: CA, validFor: 100d }"
  const leaf =
    "leaf: { kind: x509, ca: ca, commonName: leaf, dns: [a.example], validFor: 60d, renewBefore: 20d }"
  await put("tls", [ca, leaf], ["leaf:cert", "leaf:ca"])
  const first = await look()
  clock += 39 * 86_400_000
  assert.equal((await look()).fingerprint256, first.fingerprint256)
  clock += 2 * 86_400_000
  const second = await look()
  assert.notEqual(second.fingerprint256, first.fingerprint256)
  assert.ok(second.validToDate.getTime() > clock + 50 * 86_400_000)
  // Another authority: its leaves are its own at once.
  await put("tls", [ca.replace("100d", "200d"), leaf], ["leaf:cert", "leaf:ca"])
  assert.notEqual((await look()).fingerprint256, second.fingerprint256)
})

const theirs = (more = "") => [`k: { kind: import, policy: owner, secret: key${more} }`]

test("an import takes two who agree, and the hash when it names one", async () => {
  await put("guest", theirs(), ["k"])
  await refuses(
    shows("guest"),
    /^secrets\.k: wanted policy owner to export key to guest, found that/,
  )
  await put("owner", ["key: { kind: ascii, size: 20, export: [guest] }"], ["key"])
  const [value] = await shows("owner")
  assert.deepEqual(await shows("guest"), [value])
  await put("other", theirs(), ["k"])
  await refuses(shows("other"), /^secrets\.k: wanted policy owner to export key to other/)
  await put("guest", theirs(`, hash: "${hashes.get("owner")}"`), ["k"])
  assert.deepEqual(await shows("guest"), [value])
  // The owner changes their mind, or only their document.
  await put("owner", ["key: { kind: ascii, size: 20, export: [guest, other] }"], ["key"])
  assert.deepEqual(await shows("other"), [value])
  await refuses(shows("guest"), /^secrets\.k: wanted policy owner with hash [0-9a-f]{64}, found/)
  await put("owner", ["key: { kind: ascii, size: 20 }"], ["key"])
  await refuses(shows("other"), /found that it does not/)
})

test("bytes that are no text stay out of arguments and environment, and are not in the message", async () => {
  const document = text("bytes", "  g: { kind: given }\n", []).replace(
    "    files:\n",
    () => '    env: { G: "$$secret:g$$" }\n',
  )
  const given = { g: Buffer.of(0xff, 0x41, 0x42).toString("base64") }
  await putPolicy(cas, document, [alice], given, clock)
  await refuses(
    shows("bytes"),
    /^services\.web\.env\.G: wanted the text of secret g, found bytes that are none$/,
  )
})
