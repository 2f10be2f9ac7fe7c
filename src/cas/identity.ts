import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto"
import { z } from "zod"
import { rawPublicKey } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { hkdfSha256, labelBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { RowSealer } from "./rows.ts"
import type { Backend } from "./store/backend.ts"

/** Who a CAS is: an Ed25519 key that its clients pin. All replicas of one database are one CAS. */
export interface Identity {
  readonly privateKey: KeyObject
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** The public key in hex: what people pin. */
  readonly name: string
  /** 32 bytes: HMAC of lease tokens. */
  readonly tokenKey: Uint8Array
}

const rowSchema = z.strictObject({ privateKey: z.string() })
const rowName = "identity"

export interface NewIdentity {
  readonly identity: Identity
  /** The row to write; not part of the state sum, because it is there before the first head. */
  readonly sealed: Uint8Array
}

export function makeIdentity(master: Uint8Array, sealer: RowSealer): NewIdentity {
  const { privateKey } = generateKeyPairSync("ed25519")
  const row = { privateKey: privateKey.export({ type: "pkcs8", format: "der" }).toString("base64") }
  return { identity: identityOf(privateKey, master), sealed: sealer.seal("meta", rowName, row) }
}

function identityOf(privateKey: KeyObject, master: Uint8Array): Identity {
  const publicKey = rawPublicKey(privateKey)
  const tokenKey = hkdfSha256(master, new Uint8Array(), labelBytes("casTokenKey"), 32)
  return { privateKey, publicKey, name: toHex(publicKey), tokenKey }
}

/** Makes the identity when the database is empty and `create` says so. Safe when replicas start together. */
export async function loadIdentity(
  backend: Backend,
  master: Uint8Array,
  sealer: RowSealer,
  create: boolean,
): Promise<Identity> {
  if (create)
    await backend.commit(async (reader) => {
      if ((await reader.get("meta", rowName)) !== undefined) return []
      return [{ table: "meta", key: rowName, value: makeIdentity(master, sealer).sealed }]
    })
  const sealed = await backend.get("meta", rowName)
  if (sealed === undefined)
    throw new CofferError(
      "missing",
      "CAS database: wanted an initialised one, found an empty one",
      {
        hint: "coffer cas init makes a new CAS; an emptied database is restored with coffer cas restore",
        reason: "cas-empty",
      },
    )
  const { privateKey } = rowSchema.parse(sealer.open("meta", rowName, sealed))
  return identityOf(
    createPrivateKey({ key: Buffer.from(privateKey, "base64"), format: "der", type: "pkcs8" }),
    master,
  )
}
