import assert from "node:assert/strict"
import { toHex } from "../../src/bytes/index.ts"
import { type Cas, type CasClient, followAudit, genesisHash } from "../../src/cas/index.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { CofferError } from "../../src/errors.ts"
import type { Node } from "./cas.ts"

interface Acknowledged {
  readonly sequence: number
  readonly tag: string
  readonly epoch: number
}

export interface RaceOptions {
  /** One for each writer; several may be on one replica. */
  readonly clients: readonly CasClient[]
  readonly node: Node
  readonly untilMs: number
}

/** Writers that take one volume from each other and move its tag, until the time is over; what they were told. */
export async function race(options: RaceOptions): Promise<readonly Acknowledged[]> {
  const end = Date.now() + options.untilMs
  const told: Acknowledged[] = []
  await Promise.all(options.clients.map((client) => write(client, options.node, end, told)))
  return told
}

async function write(
  client: CasClient,
  node: Node,
  end: number,
  told: Acknowledged[],
): Promise<void> {
  while (Date.now() < end)
    try {
      await writeSome(client, node, end, told)
    } catch (error) {
      // Fenced, forked, the CAS away: the next round asks again. Anything else is a fault.
      if (
        !(error instanceof CofferError) ||
        !["rollback", "refused", "io", "missing"].includes(error.code)
      )
        throw error
    }
}

async function writeSome(
  client: CasClient,
  node: Node,
  end: number,
  told: Acknowledged[],
): Promise<void> {
  const { volumes } = await client.attest({
    policy: "shop",
    service: "web",
    volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
    makeEvidence: (binding) => node.evidence(binding),
  })
  const [grant] = volumes
  assert.ok(grant !== undefined)
  let at = { sequence: grant.sequence, tag: grant.tag }
  for (let i = 0; i < 5 && Date.now() < end; i += 1) {
    const next = { sequence: at.sequence + 1, tag: toHex(randomBytes(32)) }
    await client.moveTag("shop", grant, at, next)
    told.push({ ...next, epoch: grant.epoch })
    at = next
  }
}

/** One linear history in the log, and every acknowledged tag in it. */
export async function requireLinear(cas: Cas, told: readonly Acknowledged[]): Promise<number> {
  await cas.verify()
  const history = new Map<number, string>()
  let point = { sequence: 0, hash: genesisHash }
  let last = 0
  for (;;) {
    const lines = await cas.auditLines(point.sequence + 1, 1000)
    if (lines.length === 0) break
    for (const line of lines) {
      const { entry, ...next } = followAudit(point, line)
      point = next
      if (entry.kind !== "tag-moved") continue
      const { sequence, tag } = entry.detail
      assert.equal(sequence, last + 1, "one after the other, none twice")
      last += 1
      history.set(last, String(tag))
    }
  }
  for (const { sequence, tag } of told)
    assert.equal(history.get(sequence), tag, `acknowledged ${sequence} is in the history`)
  const [row] = await cas.volumes("shop/data/", "", 1)
  assert.equal(row?.sequence, last)
  return last
}
