import type { KeyObject } from "node:crypto"
import { CofferError } from "../errors.ts"
import {
  type Act,
  actDigest,
  actSchema,
  refusedAct,
  type SignedAct,
  signAct,
  signatureHolds,
  signedActSchema,
} from "./acts.ts"
import { parseStrictJson } from "./strict-json.ts"

/**
 * An act on its way from owner to owner: a file of JSON, the act and its signatures so far. Whoever carries it can
 * neither change nor use it: each signature is over the whole act, and the CAS counts only those of the policy's keys.
 */
const fileSchema = signedActSchema.extend({
  act: actSchema,
  signatures: signedActSchema.shape.signatures.unwrap().array().max(64),
})

/** Throws `config` for what is no act, `refused` when a signature in it is not over this act. `what`: for messages. */
export function parseActFile(text: string, what: string): SignedAct {
  const parsed = fileSchema.safeParse(jsonOf(text, what))
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path.map(String).join(".") ?? ""
    throw new CofferError(
      "config",
      `${what}: ${field === "" ? "the file" : field}: wanted an act, found something else`,
      { reason: "act-file", hint: "coffer policy propose writes one" },
    )
  }
  for (const { key, signature } of parsed.data.signatures)
    if (!signatureHolds(parsed.data.act, key, signature))
      throw refusedAct(
        "act.signatures",
        `the signature of ${key} over this act`,
        "one that does not verify: the act was changed after it was signed",
      )
  return parsed.data
}

function jsonOf(text: string, what: string): unknown {
  try {
    return parseStrictJson(text)
  } catch (cause) {
    throw new CofferError("config", `${what}: wanted an act in JSON, found something else`, {
      cause,
      reason: "act-file",
    })
  }
}

export function actFileText(signed: SignedAct): string {
  return `${JSON.stringify(signed, null, 2)}\n`
}

export function unsignedAct(act: Act): SignedAct {
  return { act, signatures: [] }
}

/** With the signatures of `keys` too, each key once. */
export function cosign(signed: SignedAct, keys: readonly KeyObject[]): SignedAct {
  return mergeActs([signed, signAct(signed.act, keys)])
}

/** The signatures of all, which must be over one and the same act. */
export function mergeActs(list: readonly SignedAct[]): SignedAct {
  const [first] = list
  if (first === undefined) throw new TypeError("at least one act")
  const byKey = new Map<string, SignedAct["signatures"][number]>()
  for (const { act, signatures } of list) {
    if (actDigest(act) !== actDigest(first.act))
      throw new CofferError("config", "wanted signatures over one act, found two different acts", {
        reason: "act-file",
        hint: "all owners sign copies of the one file that the first of them wrote",
      })
    for (const one of signatures) byKey.set(one.key, one)
  }
  return { act: first.act, signatures: [...byKey.values()] }
}
