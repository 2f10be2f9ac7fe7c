import { createPrivateKey, type KeyObject } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Command } from "commander"
import { fromHex, toHex } from "../bytes/index.ts"
import {
  type ActBody,
  type ActResult,
  CasClient,
  openEmbeddedCas,
  remoteTransport,
  signAct,
} from "../cas/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import { dataHome } from "../runtime/index.ts"
import type { Io } from "./io.ts"

/** How a command finds its CAS: `--cas URL --cas-key HEX`, or the embedded one in a directory. */
export interface CasOptions {
  readonly cas?: string
  readonly casKey?: string
  readonly casDir?: string
  readonly key?: readonly string[]
}

/** For an option that may be given again. */
export function collect(value: string, all: readonly string[] | undefined): readonly string[] {
  return [...(all ?? []), value]
}

export function withCasOptions(command: Command): Command {
  return command
    .option("--cas <url>", "https://HOST:PORT of a CAS; without it, the embedded one of this user")
    .option("--cas-key <hex>", "the CAS's public key, which its `coffer cas status` prints")
    .option("--cas-dir <dir>", "the embedded CAS's directory")
    .option("--key <pem>", "an access key of the policy; again for M of N", collect)
}

export function dataDir(io: Io): string {
  return join(dataHome(io.env), "coffer")
}

/** Opens the CAS, hands a client over, and closes it again. */
export async function withClient<T>(
  options: CasOptions,
  io: Io,
  work: (client: CasClient) => Promise<T>,
): Promise<T> {
  const client = await clientOf(options, io)
  try {
    return await work(client)
  } finally {
    await client.close()
  }
}

async function clientOf(options: CasOptions, io: Io): Promise<CasClient> {
  if (options.cas === undefined)
    return (await openEmbeddedCas(options.casDir ?? join(dataDir(io), "cas"))).client
  const casKey = fromHex(options.casKey ?? "")
  if (casKey?.length !== 32)
    throw new CofferError(
      "usage",
      `--cas-key: wanted 64 hex digits, found ${options.casKey ?? "nothing"}`,
      {
        hint: "`coffer cas status` on the CAS's machine prints its key; without it anybody could answer",
      },
    )
  return new CasClient({ transport: await remoteTransport(options.cas, casKey), casKey })
}

export function readKeys(options: CasOptions): KeyObject[] {
  const files = options.key ?? []
  if (files.length === 0)
    throw new CofferError("usage", "--key: wanted an access key of the policy, found none", {
      hint: "coffer keygen --access alice.pem makes one",
    })
  return files.map((file) => {
    let pem: string
    try {
      pem = readFileSync(file, "utf8")
    } catch (error) {
      throw fromSystem(error, file)
    }
    try {
      const key = createPrivateKey(pem)
      if (key.asymmetricKeyType === "ed25519") return key
    } catch {
      // said below
    }
    throw new CofferError(
      "config",
      `${file}: wanted an Ed25519 private key in PEM, found something else`,
    )
  })
}

/** Signs one act for this CAS and has it performed. */
export async function act(
  client: CasClient,
  options: CasOptions,
  policy: string,
  body: ActBody,
): Promise<ActResult> {
  const expires = Math.floor(Date.now() / 1000) + 300
  const document = { version: 1 as const, cas: toHex(client.casKey), policy, expires, body }
  return await client.act(signAct(document, readKeys(options)))
}
