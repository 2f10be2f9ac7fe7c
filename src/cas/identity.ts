import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto"
import { z } from "zod"
import { rawPublicKey } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { hkdfSha256, labelBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { RowSealer } from "./rows.ts"
import type { Backend, DirectReader } from "./store/backend.ts"

/** Who a CAS is: an Ed25519 key that its clients pin. All replicas of one database are one CAS. */
export interface Identity {
  readonly privateKey: KeyObject
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** The public key in hex: what people pin. */
  readonly name: string
  /** 32 bytes: HMAC of lease tokens. */
  readonly tokenKey: Uint8Array
  /** True when it was made by this opening: the database was empty. */
  readonly created: boolean
}

const rowSchema = z.strictObject({ privateKey: z.string() })
const rowName = "identity"

/** The row to write. It is not part of the state sum, because it is there before the first head. */
function newRow(sealer: RowSealer): Uint8Array {
  const { privateKey } = generateKeyPairSync("ed25519")
  const der = privateKey.export({ type: "pkcs8", format: "der" })
  return sealer.seal("meta", rowName, { privateKey: der.toString("base64") })
}

function identityOf(privateKey: KeyObject, master: Uint8Array, created: boolean): Identity {
  const publicKey = rawPublicKey(privateKey)
  const tokenKey = hkdfSha256(master, new Uint8Array(), labelBytes("casTokenKey"), 32)
  return { privateKey, publicKey, name: toHex(publicKey), tokenKey, created }
}

interface IdentityKeys {
  readonly master: Uint8Array
  readonly sealer: RowSealer
}

/** The identity of a database that has one, for a thread of its own. */
export function identityNow(reader: DirectReader, keys: IdentityKeys): Identity {
  return identityFrom(reader.getNow("meta", rowName), { ...keys, created: false })
}

/** Makes the identity when the database is empty and `create` says so. Safe when replicas start together. */
export async function loadIdentity(
  backend: Backend,
  master: Uint8Array,
  sealer: RowSealer,
  create: boolean,
): Promise<Identity> {
  let created = false
  if (create)
    await backend.commit(async (reader) => {
      created = (await reader.get("meta", rowName)) === undefined
      return created ? [{ table: "meta", key: rowName, value: newRow(sealer) }] : []
    })
  return identityFrom(await backend.get("meta", rowName), { master, sealer, created })
}

/** From the row that has it. */
function identityFrom(
  sealed: Uint8Array | undefined,
  { master, sealer, created }: IdentityKeys & { readonly created: boolean },
): Identity {
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
    created,
  )
}
