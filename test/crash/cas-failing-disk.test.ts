/** A disk that fails below the embedded CAS, while a volume's thread moves its anchor there. */
import assert from "node:assert/strict"
import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { openCasAnchor, openEmbeddedCas } from "../../src/cas/index.ts"
import { CofferError } from "../../src/errors.ts"
import type { Anchor, AnchorState } from "../../src/volume/index.ts"
import { Node, person, policyText, putPolicy } from "../support/cas.ts"
import { memoryMount } from "../support/memory-mount.ts"
import { cannotServe } from "../support/volume-daemon.ts"

function closeQuietly(anchor: Anchor): void {
  try {
    anchor.close()
  } catch {}
}

const isFault = (error: unknown) => error instanceof CofferError && error.code === "io"

test("a move whose sync has failed is never a success later, and the CAS goes on when it is opened anew", {
  skip: cannotServe(),
}, async (t) => {
  const disk = await memoryMount()
  const opened: Anchor[] = []
  t.after(async () => {
    // Whoever still has the database open keeps the mount.
    for (const one of opened) closeQuietly(one)
    await disk.end()
  })
  const dir = join(disk.directory, "cas")
  const embedded = await openEmbeddedCas(dir)
  const { cas, client } = embedded
  const alice = person()
  await putPolicy(cas, policyText(alice.public), [alice])
  const node = await new Node().prepare(client)
  const { volumes } = await client.attest({
    policy: "shop",
    service: "web",
    makeEvidence: (binding) => node.evidence(binding),
    volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
  })
  await embedded.close()
  const [grant] = volumes
  assert.ok(grant !== undefined)
  const target = { type: "embedded", dir } as const
  const open = (): Anchor => {
    const made = openCasAnchor(target, "shop", grant)
    opened.push(made)
    return made
  }
  const anchor = open()
  const [first, second] = [1, 2].map((n): AnchorState => {
    const [tag, salt] = [new Uint8Array(32).fill(n), new Uint8Array(32).fill(9)]
    const volumeId = Uint8Array.from(Buffer.from(grant.id, "hex"))
    return { volumeId, epoch: 1, sequence: n, tag, salt, offset: 64 }
  })
  assert.ok(first !== undefined && second !== undefined)
  assert.equal(anchor.move("new", first), true)
  const word = anchor.seen?.()

  writeFileSync(join(disk.directory, "fail-sync"), "")
  assert.throws(() => anchor.move(first, second), isFault)
  rmSync(join(disk.directory, "fail-sync"))
  // Every look at the database would now say that it is there, and a second sync that it is durable.
  assert.throws(() => anchor.move(first, second), isFault)
  assert.throws(() => anchor.read(), isFault)
  assert.deepEqual(anchor.seen?.(), word)
  assert.throws(() => anchor.close(), isFault)

  const again = open()
  const held = again.read()
  assert.ok(held !== "new" && (held.sequence === 1 || held.sequence === 2))
  assert.equal(again.move(held, { ...second, sequence: 3 }), true)
  again.close()
})
