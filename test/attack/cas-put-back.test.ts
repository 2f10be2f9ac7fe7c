/** The database of a CAS is put back to an older copy, with all its keys: whoever holds a newer signed head of it notices. */
import assert from "node:assert/strict"
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import {
  displayName,
  structSize,
  tableFaults,
  toHex,
  utf8OfByteString,
} from "../../src/bytes/index.ts"
import { directTransport } from "../../src/cas/embedded.ts"
import {
  CasClient,
  HeadMemory,
  openCasAnchor,
  openEmbeddedCas,
  type VolumeGrant,
} from "../../src/cas/index.ts"
import { decodeSeen, encodeSeen, seenTable } from "../../src/cas/seen.ts"
import { CofferError, exitCodeOf } from "../../src/errors.ts"
import {
  createStore,
  exportTree,
  fileSystemOn,
  importTree,
  NodeDisk,
  openStore,
  openStoreForReading,
} from "../../src/volume/index.ts"
import { act, Node, person, policyText, putPolicy } from "../support/cas.ts"
import { directory, file } from "../support/sealed.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-put-back-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const live = join(folder, "cas")
const alice = person()
const machine = new Node()

async function policy(text = policyText(alice.public)): Promise<void> {
  const embedded = await openEmbeddedCas(live)
  const { cas } = embedded
  await putPolicy(cas, text, [alice])
  await embedded.close()
}

/** What a start of the service gets; the CAS is opened for it and closed again. */
async function grantOf(access: "read" | "write" = "write"): Promise<VolumeGrant> {
  const embedded = await openEmbeddedCas(live)
  const { client } = embedded
  const node = await machine.prepare(client)
  const answer = await client.attest({
    policy: "shop",
    service: access === "read" ? "reader" : "web",
    makeEvidence: (binding) => node.evidence(binding),
    volumes: [{ name: "data", access, instance: 0, takeover: true }],
  })
  await embedded.close()
  const [grant] = answer.volumes
  assert.ok(grant !== undefined)
  return grant
}

const owner = { uid: 0, gid: 0, mode: 0o755 }

function raise(error: unknown): never {
  throw error
}

const key = (grant: VolumeGrant) => Buffer.from(grant.keys.at(-1)?.key ?? "", "hex")

function optionsOf(grant: VolumeGrant) {
  const anchor = openCasAnchor({ type: "embedded", dir: live }, "shop", grant)
  const volumeId = Buffer.from(grant.id, "hex")
  return { disk: new NodeDisk(join(folder, "volume")), key: key(grant), anchor, volumeId }
}

/** One start of the service: what it finds in its volume, after which it writes a file of that name, and ends. */
async function session(name: string): Promise<readonly string[]> {
  const grant = await grantOf()
  const { anchor, disk, key: volumeKey, volumeId } = optionsOf(grant)
  try {
    const opened =
      grant.state === "new"
        ? createStore({ disk, key: volumeKey, protection: "encrypted", volumeId, anchor })
        : openStore({ disk, key: volumeKey, anchor, expect: { volumeId } })
    const fs = fileSystemOn(opened, { readOnly: false, root: owner }, raise)
    const top = utf8OfByteString("/")
    const found = [...exportTree(fs, top).children.keys()].map(displayName)
    importTree(fs, directory({ [name]: file(name) }), top)
    fs.destroy()
    return found
  } finally {
    anchor.close()
  }
}

function rolledBack(error: unknown): boolean {
  assert.ok(error instanceof CofferError, String(error))
  assert.equal(error.reason, "cas-rollback", error.message)
  assert.equal(exitCodeOf(error), 4)
  assert.match(error.message, /^the CAS is behind what it has signed: wanted entry \d+ /)
  assert.ok(error.hint !== undefined)
  return true
}

function putBack(copy: string): void {
  rmSync(live, { recursive: true })
  cpSync(join(folder, copy), live, { recursive: true })
}

test("volumes notice a CAS that was put back, also when it has gone on since; an authorised restore is the way out", async () => {
  await policy()
  await session("a")
  await session("b")
  cpSync(live, join(folder, "older"), { recursive: true })
  await session("c")
  cpSync(live, join(folder, "newest"), { recursive: true })
  cpSync(join(folder, "volume"), join(folder, "volume-kept"), { recursive: true })

  putBack("older")
  await assert.rejects(session("x"), rolledBack)
  // Ever more entries of another history do not make it the one that was signed.
  for (let i = 0; i < 5; i += 1) await grantOf()
  await assert.rejects(session("x"), rolledBack)

  putBack("newest")
  assert.deepEqual(await session("d"), ["a", "b", "c"])

  // The newest copy is lost, and whose data it is say so: for this volume the older state counts.
  putBack("older")
  rmSync(join(folder, "volume"), { recursive: true })
  cpSync(join(folder, "volume-kept"), join(folder, "volume"), { recursive: true })
  await assert.rejects(session("x"), rolledBack)
  await restore(await position())
  assert.deepEqual(await session("e"), ["a", "b"])
  assert.deepEqual(await session("f"), ["a", "b", "e"])
})

/** Where the CAS has the volume now. */
async function position() {
  const embedded = await openEmbeddedCas(live)
  const { cas } = embedded
  const reply = await cas.act(act(cas, "shop", { verb: "read-policy" }, [alice]))
  await embedded.close()
  const view =
    reply.result.verb === "read-policy"
      ? reply.result.volumes.find(({ name }) => name === "shop/data/0")
      : undefined
  assert.ok(view !== undefined)
  return { sequence: view.sequence, tag: view.tag }
}

async function restore(target: { readonly sequence: number; readonly tag: string }) {
  const current = await position()
  const embedded = await openEmbeddedCas(live)
  const { cas } = embedded
  const body = { verb: "restore-volume", volume: "data", instance: 0, current, target } as const
  await cas.act(act(cas, "shop", body, [alice]))
  await embedded.close()
}

test("an authorised restore: the older state is back, what came after it is gone, and stays gone", async () => {
  const before = await position()
  assert.deepEqual(await session("g"), ["a", "b", "e", "f"])
  assert.deepEqual(await session("h"), ["a", "b", "e", "f", "g"])
  const undone = join(folder, "volume-undone")
  cpSync(join(folder, "volume"), undone, { recursive: true })
  await restore(before)
  assert.deepEqual(await session("i"), ["a", "b", "e", "f"])
  assert.deepEqual(await session("j"), ["a", "b", "e", "f", "i"])
  cpSync(join(folder, "volume"), join(folder, "volume-kept"), { recursive: true, force: true })
  rmSync(join(folder, "volume"), { recursive: true })
  cpSync(undone, join(folder, "volume"), { recursive: true })
  await assert.rejects(
    session("x"),
    (error) => error instanceof CofferError && exitCodeOf(error) === 4,
  )
})

test("a tag that the directory does not have cannot be restored to", async () => {
  const before = await position()
  await restore({ sequence: 3, tag: "ab".repeat(32) })
  await assert.rejects(
    session("x"),
    (error) => error instanceof CofferError && /no segment has it/.test(error.message),
  )
  rmSync(join(folder, "volume"), { recursive: true })
  cpSync(join(folder, "volume-kept"), join(folder, "volume"), { recursive: true })
  await restore(before)
  assert.deepEqual(await session("k"), ["a", "b", "e", "f", "i", "j"])
})

test("a reader notices too, as far as the tag that it may see goes", async () => {
  const grant = await grantOf("read")
  const { anchor, disk, key: volumeKey, volumeId } = optionsOf(grant)
  const { info } = openStoreForReading({ disk, key: volumeKey, anchor, expect: { volumeId } })
  assert.equal(toHex(info.tag), grant.tag)
  anchor.close()
})

test("a machine remembers the newest head of each CAS until it boots", async () => {
  const memory = new HeadMemory(join(folder, "state"))
  const embedded = await openEmbeddedCas(live)
  const { cas, client } = embedded
  const { name, publicKey } = cas.identity
  assert.equal(memory.newest(name), undefined)
  const { head: first } = await client.info()
  memory.keep(first)
  await grantOf()
  const { head: second } = await client.info()
  assert.ok(second.sequence > first.sequence)
  memory.keep(second)
  memory.keep(first)
  assert.deepEqual(memory.newest(name), second)
  assert.equal(memory.newest("00".repeat(32)), undefined)
  // A head that the CAS has not signed is nobody's word; one that it does not know any more is a rollback.
  const lost = { ...second, hash: "ab".repeat(32) }
  const transport = directTransport(cas)
  assert.throws(() => new CasClient({ transport, casKey: publicKey, seen: lost }), CofferError)
  await embedded.close()
  writeFileSync(join(folder, "state", "heads", `${name}.json`), "{")
  assert.throws(() => memory.newest(name), /wanted a signed head of that CAS, found none/)
})

test("148 bytes: every other byte of a signed head in a volume is refused", async () => {
  assert.deepEqual(tableFaults(seenTable, 148), [])
  assert.equal(structSize(seenTable), 148)
  const embedded = await openEmbeddedCas(live)
  const { client } = embedded
  const { head } = await client.info()
  const bytes = encodeSeen(head)
  assert.deepEqual(decodeSeen(bytes), head)
  assert.throws(() => decodeSeen(bytes.subarray(0, 147)), CofferError)
  const grant = await grantOf()
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Uint8Array.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    await assert.rejects(
      async () => client.current("shop", grant, decodeSeen(changed)),
      CofferError,
      String(at),
    )
  }
  await client.current("shop", grant, head)
  await embedded.close()
})
