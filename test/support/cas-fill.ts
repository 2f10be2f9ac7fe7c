import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fromHex, type JsonValue, toHex } from "../../src/bytes/index.ts"
import { loadIdentity } from "../../src/cas/identity.ts"
import { Ledger } from "../../src/cas/ledger.ts"
import { RowSealer } from "../../src/cas/rows.ts"
import { openSqlite } from "../../src/cas/store/sqlite.ts"
import { newVolume } from "../../src/cas/volumes.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { parsePolicy, policyHash } from "../../src/policy/index.ts"
import { person, policyText } from "./cas.ts"

const batch = 400

/** Many policies, and many volumes with one commit each, straight into the database of an embedded CAS. */
export async function fillCas(
  dir: string,
  { policies, tags }: { readonly policies: number; readonly tags: number },
): Promise<void> {
  const master = fromHex(readFileSync(join(dir, "master.key"), "utf8").trim()) ?? new Uint8Array()
  const backend = openSqlite(dir)
  const sealer = new RowSealer(master)
  const identity = await loadIdentity(backend, master, sealer, false)
  const ledger = new Ledger({
    backend,
    sealer,
    identity: identity.privateKey,
    casKey: identity.name,
    now: Date.now,
  })
  const admin = person().public
  const base = parsePolicy(policyText(admin), "shop")
  const putPolicyRow = (i: number) => ({ ...base, name: `p${i}` })
  for (let i = 0; i < policies; i += batch)
    await ledger.transact(async (tx) => {
      for (let n = i; n < Math.min(i + batch, policies); n += 1) {
        const document = putPolicyRow(n)
        const hash = policyHash(document)
        const row = { document: document as unknown as JsonValue, changed: tx.time }
        await tx.put("policies", document.name, { ...row, hash, revision: 1 })
        await tx.put("documents", `${document.name}/${hash}`, row)
        await tx.put("secrets", `${document.name}/token`, { kind: "bytes", made: "", value: "" })
        tx.log("policy-created", document.name, { hash, revision: 1, by: "alice" })
      }
    })
  for (let i = 0; i < tags; i += batch)
    await ledger.transact(async (tx) => {
      for (let n = i; n < Math.min(i + batch, tags); n += 1) {
        const key = `p${n % Math.max(1, policies)}/data/${Math.floor(n / Math.max(1, policies))}`
        const tag = toHex(randomBytes(32))
        const volume = newVolume("encrypted", 1, tx.time)
        await tx.put("volumes", key, { ...volume, state: "open", sequence: 1, tag })
        tx.log("tag-moved", key, { sequence: 1, tag, epoch: 1 })
      }
    })
  await backend.close()
}
