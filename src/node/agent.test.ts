import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, type TestContext, test } from "node:test"
import { promisify } from "node:util"
import { FakeTsm } from "../../test/support/fake-tsm.ts"
import { makeSealed, testDraft } from "../../test/support/sealed.ts"
import { buildSnp } from "../../test/support/snp.ts"
import { noSwtpm, SoftwareTpm } from "../../test/support/swtpm.ts"
import {
  type EvidenceContext,
  type ReleaseBinding,
  selectionsOf,
  Tpm,
  verifyEvidence,
} from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { randomBytes, sha256 } from "../crypto/index.ts"
import { formatPem } from "../der/index.ts"
import { CofferError } from "../errors.ts"
import { openFile, readSealed } from "../seal/index.ts"
import { nodeStatus } from "./client.ts"
import { type AgentEvent, openNode, parseNodeConfig, serveNode } from "./index.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-node-"))
after(() => rmSync(folder, { recursive: true, force: true }))
let count = 0

const root = process.getuid?.() === 0 ? false : "needs root"

function sealedFile(name: string, sign = false) {
  const path = join(folder, name)
  if (!existsSync(path)) makeSealed(path, { draft: { ...testDraft, name }, sign })
  const source = openFile(path)
  return { path, source, sealed: readSealed(source), fd: source.fd }
}

/** An agent of its own for a test, in a folder of its own. */
async function agentFor(
  t: TestContext,
  platform = "{ type: insecure-sim }",
  more: { readonly tsm?: FakeTsm; readonly extra?: string } = {},
) {
  count += 1
  const directory = join(folder, `agent-${count}`)
  mkdirSync(directory, { mode: 0o700 })
  const socket = join(directory, "node.sock")
  const text = `version: 1\nplatform: ${platform}\nsocket: ${socket}\n${more.extra ?? ""}`
  const config = parseNodeConfig(text, "node.yaml")
  const events: AgentEvent[] = []
  const options = {
    config,
    directory,
    log: (event: AgentEvent) => events.push(event),
    ...(more.tsm === undefined ? {} : { tsm: more.tsm }),
  }
  const agent = await serveNode(options)
  t.after(() => agent.close())
  return { agent, config, directory, socket, events, options }
}

function exchange(casKey = randomBytes(32)) {
  const binding: ReleaseBinding = {
    nonce: randomBytes(32),
    ephemeralKey: randomBytes(32),
    casKey,
    policyName: "shop/web",
  }
  const challenges: string[] = []
  const challenge = () => {
    const nonce = randomBytes(32)
    challenges.push(toHex(nonce))
    return Promise.resolve(nonce)
  }
  const context: EvidenceContext = {
    ...binding,
    now: 1_800_000_000,
    acceptsPlatformNonce: () => true,
  }
  return { binding, challenge, challenges, context }
}

const says = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof CofferError && error.code === code && message.test(error.message)

/** Lines in, replies out, as any process could send them. */
function raw(socket: string, text: string, replies = 1): Promise<readonly string[]> {
  return new Promise((resolve) => {
    const stream = connect(socket).setEncoding("utf8")
    let all = ""
    stream.on("error", () => undefined) // a reset is an end
    stream.once("close", () => resolve(all.split("\n").filter((line) => line !== "")))
    stream.on("data", (chunk) => {
      all += String(chunk)
      if (all.split("\n").length > replies) stream.destroy()
    })
    stream.write(text)
  })
}

test("the agent measures, and vouches for what it measured; platform evidence is used again", async (t) => {
  const { agent, config, events, socket } = await agentFor(t)
  const { source, sealed, fd } = sealedFile("one", true)
  const node = await openNode(config)
  try {
    const enclave = await node.enclave(sealed, fd)
    const first = exchange()
    const claims = verifyEvidence(
      await enclave.evidence(first.binding, first.challenge),
      first.context,
    )
    assert.equal(claims.enclave.mrEnclave, toHex(sealed.mrEnclave))
    assert.equal(claims.enclave.mrSigner, toHex(sealed.signature?.mrSigner ?? new Uint8Array()))
    assert.equal(claims.enclave.engineTrusted, true)
    assert.equal(claims.nodeKey, agent.nodeKey)
    assert.equal(claims.platform.type, "insecure-sim")
    // The same CAS again, another exchange; then another CAS.
    const second = exchange(first.binding.casKey)
    verifyEvidence(await enclave.evidence(second.binding, second.challenge), second.context)
    assert.deepEqual([first.challenges.length, second.challenges.length], [1, 0])
    const other = exchange()
    verifyEvidence(await enclave.evidence(other.binding, other.challenge), other.context)
    assert.equal(other.challenges.length, 1)
    const status = await nodeStatus(socket)
    assert.deepEqual(status.enclaves, [toHex(sealed.mrEnclave)])
    assert.deepEqual(
      events.map(({ event }) => event),
      ["measured", "vouched", "vouched", "vouched"],
    )
  } finally {
    await node.close()
    source.close()
  }
})

test("without a configuration this process vouches, with keys that stay", async () => {
  const directory = join(folder, "alone")
  const { source, sealed, fd } = sealedFile("one", true)
  const keys: string[] = []
  for (let i = 0; i < 2; i += 1) {
    const node = await openNode(undefined, { directory })
    const { binding, challenge, context } = exchange()
    const enclave = await node.enclave(sealed, fd)
    keys.push(verifyEvidence(await enclave.evidence(binding, challenge), context).nodeKey)
    await node.close()
  }
  source.close()
  assert.equal(keys[0], keys[1])
  assert.equal(statSync(join(directory, "node.key")).mode & 0o777, 0o600)
})

test("a file that shows the agent something else than us is noticed", async (t) => {
  const { config } = await agentFor(t)
  const [mine, other] = [sealedFile("one", true), sealedFile("two")]
  const node = await openNode(config)
  await assert.rejects(
    node.enclave(mine.sealed, other.fd),
    says("integrity", /wanted MrEnclave .* found/),
  )
  await node.close()
  mine.source.close()
  other.source.close()
})

test("nothing is signed but for what was measured over the same connection", async (t) => {
  const { socket, config } = await agentFor(t)
  const { source, sealed, fd } = sealedFile("one", true)
  const ask = JSON.stringify({
    verb: "evidence",
    nonce: "00".repeat(32),
    ephemeralKey: "11".repeat(32),
    casKey: "22".repeat(32),
    policyName: "shop/web",
    platformNonce: "33".repeat(32),
  })
  // An enclave on one connection does not help another connection.
  const node = await openNode(config)
  await node.enclave(sealed, fd)
  const [alone = ""] = await raw(socket, `${ask}\n`)
  assert.match(alone, /"reason":"node-enclave"/)
  // One enclave a connection; and what is no sealed binary is none.
  const measure = JSON.stringify({ verb: "enclave", fd })
  const [one = "", two = ""] = await raw(socket, `${measure}\n${measure}\n`, 2)
  assert.match(one, /mrEnclave/)
  assert.match(two, /found a second/)
  const plain = join(folder, "plain")
  writeFileSync(plain, "#!/bin/sh\n")
  const file = openFile(plain)
  const [not = ""] = await raw(socket, `${JSON.stringify({ verb: "enclave", fd: file.fd })}\n`)
  assert.match(not, /"error"/)
  const [claimed = ""] = await raw(
    socket,
    `${JSON.stringify({ verb: "enclave", fd, mrEnclave: "ab".repeat(32) })}\n`,
  )
  assert.match(claimed, /wanted a request of the protocol/)
  file.close()
  await node.close()
  source.close()
})

test("hostile lines get an error each, and the agent goes on", async (t) => {
  const { socket } = await agentFor(t)
  for (const line of [
    "",
    "{",
    "null",
    '{"verb":"sign"}',
    '{"verb":"enclave","fd":-1}',
    "[".repeat(20_000),
  ]) {
    const [reply = ""] = await raw(socket, `${line}\n`)
    assert.match(reply, /^\{"error":\{"code":"usage"/, line.slice(0, 20))
  }
  assert.deepEqual(await raw(socket, "x".repeat(300_000)), [])
  assert.equal((await nodeStatus(socket)).platform, "insecure-sim")
})

test("socket and folder are root's alone; one agent a machine; a dead one's socket is taken over", async (t) => {
  const { socket, options, directory, agent } = await agentFor(t)
  assert.equal(statSync(socket).mode & 0o777, 0o600)
  await assert.rejects(serveNode(options), says("usage", /found one that answers/))
  await agent.close()
  await assert.rejects(openNode(options.config), says("missing", /node agent at/))
  writeFileSync(socket, "")
  const again = await serveNode(options)
  assert.equal(again.nodeKey, agent.nodeKey)
  await again.close()
  chmodSync(directory, 0o777)
  await assert.rejects(serveNode(options), says("config", /only we can write/))
})

const client = `
const socket = require("node:net").connect(process.argv[1]).setEncoding("utf8")
socket.on("error", (error) => console.log(error.code))
socket.on("data", (text) => { console.log(text); socket.destroy() })
socket.write('{"verb":"status"}\\n')`

test("another user and a container's root are refused, also when somebody opened the socket to them", {
  skip: root,
}, async (t) => {
  const { socket, directory, events } = await agentFor(t)
  // Not spawnSync: the agent is in this process.
  const run = async (command: string, ...before: readonly string[]) => {
    const args = [...before, process.execPath, "-e", client, socket]
    return (await promisify(execFile)(command, args)).stdout
  }
  const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"]
  for (const path of [folder, directory]) chmodSync(path, 0o755)
  assert.match(await run("setpriv", ...nobody), /EACCES/)
  chmodSync(socket, 0o666)
  assert.match(await run("setpriv", ...nobody), /wanted a process of uid 0, found uid 65534/)
  assert.match(await run("unshare", "--pid", "--fork"), /another pid namespace/)
  assert.match(await run("unshare", "--user", "--map-root-user"), /another user namespace/)
  assert.match(await run("env"), /"platform":"insecure-sim"/)
  assert.deepEqual(
    events.map(({ event }) => event),
    ["refused", "refused", "refused"],
  )
})

function extended(register: Uint8Array, value: Uint8Array): Uint8Array {
  return sha256(Buffer.concat([register, value]))
}

test("TPM: each MrEnclave goes into the register once, and evidence shows it", {
  skip: noSwtpm,
}, async (t) => {
  const software = await new SoftwareTpm().start()
  t.after(() => software.stop())
  const setup = `{ type: tpm2, device: "${software.address}", pcrs: [7, 15] }`
  const { config, socket } = await agentFor(t, setup)
  const [one, two] = [sealedFile("one", true), sealedFile("two")]
  const seen: string[] = []
  const first = exchange()
  for (const { sealed, fd } of [one, one, two, two]) {
    const node = await openNode(config)
    const enclave = await node.enclave(sealed, fd)
    const { binding, challenge, context } = exchange(first.binding.casKey)
    const { platform } = verifyEvidence(await enclave.evidence(binding, challenge), context)
    assert.ok(platform.type === "tpm2")
    seen.push(platform.pcrs["sha256:15"] ?? "")
    await node.close()
  }
  const afterOne = extended(new Uint8Array(32), one.sealed.mrEnclave)
  const afterTwo = extended(afterOne, two.sealed.mrEnclave)
  assert.deepEqual(seen, [afterOne, afterOne, afterTwo, afterTwo].map(toHex))
  assert.equal((await nodeStatus(socket)).enclaves.length, 2)
  const tpm = await Tpm.open(software.address)
  assert.deepEqual(await tpm.readPcrs(selectionsOf(["sha256:15"])), {
    "sha256:15": toHex(afterTwo),
  })
  await tpm.close()
  // A TPM that has gone is said, and one that is back is used.
  await software.halt()
  const node = await openNode(config)
  const enclave = await node.enclave(one.sealed, one.fd)
  const other = exchange()
  await assert.rejects(
    enclave.evidence(other.binding, other.challenge),
    says("missing", /tpm unix:/),
  )
  await software.start()
  verifyEvidence(await enclave.evidence(other.binding, other.challenge), other.context)
  await node.close()
  one.source.close()
  two.source.close()
})

test("SNP: certificates of the collateral folder, when the host gives none", async (t) => {
  const built = buildSnp()
  const collateral = join(folder, "amd")
  mkdirSync(collateral)
  for (const [i, { raw: der }] of built.collateral.certificates.entries())
    writeFileSync(join(collateral, `${i}.pem`), formatPem("CERTIFICATE", der))
  const tsm = new FakeTsm({
    provider: "sev_guest",
    report: (reportData) => buildSnp({ reportData }).report,
  })
  const { config } = await agentFor(t, "{ type: sev-snp }", {
    tsm,
    extra: `collateral: ${collateral}\nengine: outside\n`,
  })
  const { source, sealed, fd } = sealedFile("one", true)
  const node = await openNode(config)
  const enclave = await node.enclave(sealed, fd)
  const { binding, challenge, context } = exchange()
  const evidence = await enclave.evidence(binding, challenge)
  const { platform, enclave: claims } = verifyEvidence(evidence, {
    ...context,
    now: built.now,
    roots: built.roots,
  })
  assert.equal(platform.type, "sev-snp")
  assert.equal(claims.engineTrusted, false)
  await node.close()
  source.close()
})
