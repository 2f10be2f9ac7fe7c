import { toHex } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import {
  decide,
  diffPolicies,
  type Policy,
  policyFromValue,
  policyHash,
  type Refusal,
  refusalText,
} from "../policy/index.ts"
import {
  type Act,
  type ActBody,
  actDigest,
  refusedAct,
  requireQuorum,
  type SignedAct,
  signersOf,
} from "./acts.ts"
import type { Transaction } from "./ledger.ts"
import { useOnce } from "./once.ts"
import { readPolicy, requirePolicy, type StoredPolicy } from "./policies.ts"
import { makeSecrets } from "./secrets.ts"
import {
  fork,
  newVolume,
  readVolume,
  type VolumePlace,
  type VolumeRow,
  volumeKey,
} from "./volumes.ts"

type Body<V extends ActBody["verb"]> = Extract<ActBody, { verb: V }>

export type ActResult =
  | {
      readonly verb: "list-policies"
      readonly policies: readonly {
        readonly name: string
        readonly hash: string
        readonly revision: number
      }[]
      /** Where the next page begins; absent in the last one. */
      readonly after?: string
    }
  | {
      readonly verb: "put-policy"
      readonly hash: string
      readonly revision: number
      readonly created: boolean
    }
  | {
      readonly verb: "read-policy"
      readonly hash: string
      readonly revision: number
      readonly document: Policy
      readonly volumes: readonly VolumeView[]
    }
  | {
      readonly verb: "restore-volume" | "reset-volume" | "rekey-volume"
      readonly volume: VolumeView
    }

/** A volume as people may see it: everything but keys. */
export interface VolumeView {
  readonly name: string
  readonly id: string
  readonly state: string
  readonly sequence: number
  readonly tag: string
  readonly epoch: number
  readonly moved: number
  readonly protection: string
  readonly highestSvn: number
  readonly generations: number
  readonly writer: string | undefined
}

export function viewOf(key: string, row: VolumeRow, now: number): VolumeView {
  const { id, state, sequence, tag, epoch, moved, protection, highestSvn, lease } = row
  const writer = lease !== undefined && lease.expires > now ? lease.service : undefined
  return {
    name: key,
    id,
    state,
    sequence,
    tag,
    epoch,
    moved,
    protection,
    highestSvn,
    generations: row.keys.length,
    writer,
  }
}

export interface Rules {
  readonly casKey: string
  /** Keys of which one must sign the first document of a policy; empty: anybody's will do. */
  readonly creators: readonly string[]
}

/** Performs one signed act, or throws `refused`, `rollback` or `config` and changes nothing. */
export async function perform(
  tx: Transaction,
  signed: SignedAct,
  rules: Rules,
): Promise<ActResult> {
  const { body, policy } = signed.act
  const context = { casKey: rules.casKey, now: tx.time }
  switch (body.verb) {
    case "put-policy":
      return await putPolicy(tx, signed, body, rules)
    case "read-policy": {
      const stored = await requirePolicy(tx, policy)
      const by = requireQuorum(signed, stored.policy, "read", context)
      tx.log("policy-read", policy, { by: by.join(",") })
      const { hash, revision } = stored
      return {
        verb: "read-policy",
        hash,
        revision,
        document: stored.policy,
        volumes: await volumesOf(tx, policy),
      }
    }
    case "list-policies":
      return await readable(tx, signersOf(signed, context), body.after ?? "")
    case "restore-volume":
    case "reset-volume":
    case "rekey-volume": {
      const stored = await requirePolicy(tx, policy)
      const by = requireQuorum(signed, stored.policy, "restore", context)
      const place = { policy, volume: body.volume, instance: body.instance }
      const row = await changeVolume(tx, stored, place, body, by.join(","))
      await requireUnused(tx, signed.act)
      await tx.put("volumes", volumeKey(place), row)
      return { verb: body.verb, volume: viewOf(volumeKey(place), row, tx.time) }
    }
  }
}

/** A state can come back (restored, and restored again), and with it a recorded act that names it: each act is done once. */
async function requireUnused(tx: Transaction, act: Act): Promise<void> {
  if (await useOnce(tx, act.expires * 1000, actDigest(act))) return
  throw refusedAct("act", "one that was not performed before", "one that was")
}

// Anybody can ask, with any key, and each policy that is looked at costs: a page is what a page costs.
const pageSize = 100

async function readable(
  tx: Transaction,
  signers: readonly string[],
  after: string,
): Promise<Extract<ActResult, { verb: "list-policies" }>> {
  const found: { name: string; hash: string; revision: number }[] = []
  const names = await tx.keys("policies", "", pageSize, after)
  for (const name of names) {
    const stored = await readPolicy(tx, name)
    const access = stored?.policy.access
    const mayRead = access?.read?.of.some((one) => signers.includes(access.keys[one] ?? ""))
    if (stored !== undefined && mayRead === true)
      found.push({ name, hash: stored.hash, revision: stored.revision })
  }
  const last = names.length === pageSize ? names.at(-1) : undefined
  return { verb: "list-policies", policies: found, ...(last === undefined ? {} : { after: last }) }
}

async function volumesOf(tx: Transaction, policy: string): Promise<VolumeView[]> {
  const views: VolumeView[] = []
  for (const key of await tx.keys("volumes", `${policy}/`, 10_000)) {
    const [, volume = "", instance = "0"] = key.split("/")
    const row = await readVolume(tx, { policy, volume, instance: Number(instance) })
    if (row !== undefined) views.push(viewOf(key, row, tx.time))
  }
  return views
}

async function putPolicy(
  tx: Transaction,
  signed: SignedAct,
  body: Body<"put-policy">,
  { casKey, creators }: Rules,
): Promise<ActResult> {
  const policy = policyFromValue(body.document, "policy")
  if (policy.name !== signed.act.policy)
    throw new CofferError(
      "refused",
      `act.policy: wanted ${policy.name}, the document's name, found ${signed.act.policy}`,
      { reason: "act-policy" },
    )
  const before = await readPolicy(tx, policy.name)
  // The first document says who may put it; later ones are put by those whom the document before them names.
  const by = requireQuorum(signed, before?.policy ?? policy, "update", { casKey, now: tx.time })
  if (before === undefined) requireCreator(signed, creators, { casKey, now: tx.time })
  const hash = policyHash(policy)
  if (before?.hash === hash && Object.keys(body.given).length === 0)
    return { verb: "put-policy", hash, revision: before.revision, created: false }
  requirePredecessor(policy, before)
  await requireImporters(tx, policy)
  const given = new Map(
    Object.entries(body.given).map(([name, value]) => [
      name,
      new Uint8Array(Buffer.from(value, "base64")),
    ]),
  )
  await makeSecrets(tx, policy, given)
  await revokeLeases(tx, policy)
  const revision = (before?.revision ?? 0) + 1
  await tx.put("policies", policy.name, { hash, document: policy, revision, changed: tx.time })
  await tx.put("documents", `${policy.name}/${hash}`, { document: policy, changed: tx.time })
  tx.log(before === undefined ? "policy-created" : "policy-updated", policy.name, {
    hash,
    revision,
    by: by.join(","),
    ...(before === undefined ? {} : { changes: diffPolicies(before.policy, policy).length }),
  })
  return { verb: "put-policy", hash, revision, created: before === undefined }
}

/** A running writer whom the new document no longer accepts is fenced now, not when it next attests. */
async function revokeLeases(tx: Transaction, policy: Policy): Promise<void> {
  for (const key of await tx.keys("volumes", `${policy.name}/`, 1_000_000)) {
    const [, volume = "", instance = "0"] = key.split("/")
    const place = { policy: policy.name, volume, instance: Number(instance) }
    const row = await readVolume(tx, place)
    const lease = row?.lease
    if (row === undefined || lease?.accepted === undefined || lease.expires <= tx.time) continue
    const refusal = stillAccepted(policy, place, lease.service, lease.accepted)
    if (refusal === undefined) continue
    const { lease: _, ...rest } = row
    await tx.put("volumes", key, { ...rest, epoch: row.epoch + 1 })
    tx.log("lease-revoked", key, { service: lease.service, epoch: row.epoch, field: refusal.field })
  }
}

function stillAccepted(
  policy: Policy,
  { volume, instance }: VolumePlace,
  service: string,
  { platform, enclave }: NonNullable<NonNullable<VolumeRow["lease"]>["accepted"]>,
): Refusal | undefined {
  const request = {
    service,
    enclave: { ...enclave, mrSigner: enclave.mrSigner },
    volumes: [{ name: volume, access: "write" as const, instance }],
  }
  // The machine's evidence is not kept: of platforms only the name is asked, the rest at the next attestation.
  const decision = decide(policy, request, {
    judgePlatform: (name) =>
      name === platform ? undefined : { field: `platforms.${name}`, wanted: name, found: platform },
    highestSvn: () => 0,
  })
  return decision.accepted ? undefined : decision.refusal
}

/** Names are given to who comes first, so the CAS's operator can say whose policies may come at all. */
function requireCreator(
  signed: SignedAct,
  creators: readonly string[],
  context: { readonly casKey: string; readonly now: number },
): void {
  if (creators.length === 0) return
  if (signersOf(signed, context).some((key) => creators.includes(key))) return
  throw new CofferError(
    "refused",
    "act.signatures: wanted one of a key that may create policies at this CAS, found none",
    {
      reason: "act-creator",
      facts: { field: "act.signatures", wanted: "a key that may create policies", found: "none" },
      hint: "ask the CAS's operator: coffer cas serve --create-key HEX",
    },
  )
}

/** A secret for a policy that is not there would be for whoever makes one of that name. */
async function requireImporters(tx: Transaction, policy: Policy): Promise<void> {
  for (const [name, secret] of Object.entries(policy.secrets))
    for (const importer of secret.kind === "import" ? [] : secret.export) {
      if (importer === policy.name || (await readPolicy(tx, importer)) !== undefined) continue
      const refusal = {
        field: `secrets.${name}.export`,
        wanted: "a policy that this CAS has",
        found: importer,
      }
      throw new CofferError("refused", refusalText(refusal), {
        reason: "policy-export",
        facts: refusal,
        hint: "the importer comes first, else whoever makes a policy of that name gets the secret",
      })
    }
}

/** Two people who change one document at a time: the second is told, and loses nothing. */
function requirePredecessor(policy: Policy, before: StoredPolicy | undefined): void {
  if (policy.predecessor === before?.hash) return
  const wanted =
    before === undefined
      ? "none: there is no policy of this name"
      : `${before.hash}, the current document`
  const refusal = { field: "predecessor", wanted, found: policy.predecessor ?? "none" }
  throw new CofferError("refused", refusalText(refusal), {
    reason: "policy-predecessor",
    facts: { ...refusal },
    hint: "read the current document with `coffer policy show`, merge, and update again",
  })
}

async function changeVolume(
  tx: Transaction,
  stored: StoredPolicy,
  place: VolumePlace,
  body: Body<"restore-volume"> | Body<"reset-volume"> | Body<"rekey-volume">,
  by: string,
): Promise<VolumeRow> {
  const described = stored.policy.volumes[place.volume]
  const row = await readVolume(tx, place)
  if (described === undefined || row === undefined)
    throw new CofferError(
      "refused",
      `volume: wanted one that the CAS has, found ${volumeKey(place)}`,
      { reason: "volume-unknown" },
    )
  if (
    body.verb !== "rekey-volume" &&
    (body.current.tag !== row.tag || body.current.sequence !== row.sequence)
  )
    throw fork(
      place,
      "act-current",
      `the act to name the current tag ${row.tag} (${row.sequence})`,
      `${body.current.tag} (${body.current.sequence})`,
    )
  if (body.verb !== "restore-volume" && body.id !== row.id)
    throw fork(place, "act-volume", `the act to name the volume ${row.id}`, body.id)
  const { lease: _, hint: __, ...rest } = row
  switch (body.verb) {
    case "restore-volume": {
      const { sequence, tag } = body.target
      tx.log("volume-restored", volumeKey(place), { by, from: row.tag, to: tag, sequence })
      return {
        ...rest,
        sequence,
        tag,
        state: "open",
        epoch: row.epoch + 1,
        moved: tx.time,
        restored: { from: row.tag, to: tag, time: tx.time },
      }
    }
    case "reset-volume":
      tx.log("volume-reset", volumeKey(place), { by, from: row.tag, id: row.id })
      return newVolume(described.protection, row.epoch + 1, tx.time)
    case "rekey-volume": {
      const newest = row.keys.at(-1)?.generation ?? 0
      if (body.generation !== newest)
        throw fork(
          place,
          "act-generation",
          `generation ${newest}, the newest`,
          String(body.generation),
        )
      tx.log("volume-rekeyed", volumeKey(place), { by, generation: newest + 1 })
      return {
        ...row,
        keys: [...row.keys, { generation: newest + 1, key: toHex(randomBytes(32)) }],
      }
    }
  }
}
