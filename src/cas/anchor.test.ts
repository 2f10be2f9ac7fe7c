import assert from "node:assert/strict"
import { after, test } from "node:test"
import { Node, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { fromHex, toHex } from "../bytes/index.ts"
import type { AnchorState } from "../volume/index.ts"
import { openCasAnchor, openEmbeddedCas } from "./index.ts"

const place = scratch()
after(place.remove)

test("a volume's thread reads and moves its anchor in the CAS without an event loop", async () => {
  const embedded = await openEmbeddedCas(place.dir)
  const { cas, client } = embedded
  const alice = person()
  await putPolicy(cas, policyText(alice.public), [alice])
  const node = await new Node().prepare(client)
  const attest = async () => {
    const answer = await client.attest({
      policy: "shop",
      service: "web",
      makeEvidence: (binding) => node.evidence(binding),
      volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
    })
    const [grant] = answer.volumes
    assert.ok(grant !== undefined)
    return grant
  }
  const grant = await attest()
  const state = (n: number): AnchorState => ({
    volumeId: fromHex(grant.id) ?? new Uint8Array(),
    sequence: n,
    tag: new Uint8Array(32).fill(n),
    epoch: 1,
    salt: new Uint8Array(32).fill(9),
    offset: 4096 * n,
  })
  const anchor = openCasAnchor({ type: "embedded", dir: place.dir }, "shop", grant)
  assert.equal(anchor.read(), "new")
  assert.equal(anchor.move("new", state(1)), true)
  assert.equal(anchor.move("new", state(1)), true)
  assert.deepEqual(anchor.read(), state(1))
  assert.equal(anchor.move("new", state(2)), false)
  assert.equal(anchor.move(state(1), state(2)), true)
  const second = await attest()
  assert.equal(second.tag, toHex(state(2).tag))
  assert.equal(anchor.move(state(2), state(3)), false)
  assert.throws(() => anchor.close(), /epoch/)
  const reader = openCasAnchor({ type: "embedded", dir: place.dir }, "shop", second)
  assert.deepEqual(reader.read(), state(2))
  reader.close()
  await embedded.close()
})
