import { createPrivateKey, createPublicKey } from "node:crypto"
import { z } from "zod"
import { toHex } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { Policy, SecretPolicy } from "../policy/index.ts"
import type { Transaction } from "./ledger.ts"
import { makeCertificate, p256KeyPair } from "./x509.ts"

/** Values of secrets: made when a policy first has them, kept when an update leaves their description as it is. */
export const secretRowSchema = z.discriminatedUnion("kind", [
  /** `value`: base64. */
  z.strictObject({ kind: z.literal("bytes"), made: z.string(), value: z.string() }),
  z.strictObject({
    kind: z.literal("x509"),
    made: z.string(),
    subject: z.string(),
    key: z.string(),
    cert: z.string(),
    /** The issuer's certificate; its own for a CA. */
    ca: z.string(),
    /** Milliseconds. */
    notAfter: z.number(),
  }),
])
export type SecretRow = Readonly<z.infer<typeof secretRowSchema>>

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/** Unbiased: bytes of 248 and more are thrown away. */
function randomText(size: number): string {
  let text = ""
  while (text.length < size)
    for (const byte of randomBytes(size))
      if (byte < 248 && text.length < size) text += alphabet[byte % 62]
  return text
}

/** What a value depends on: when it changes, a new value is made. */
function madeFrom(secret: SecretPolicy): string {
  const { export: _, ...rest } = { export: [], ...secret }
  return JSON.stringify(rest)
}

export function secretKey(policy: string, name: string): string {
  return `${policy}/${name}`
}

async function rowOf(
  tx: Transaction,
  policy: string,
  name: string,
): Promise<SecretRow | undefined> {
  const row = await tx.get("secrets", secretKey(policy, name))
  return row === undefined ? undefined : secretRowSchema.parse(row)
}

/** Makes what `policy` describes and is not there, or not as described. `given` has the values of secrets of that kind. */
export async function makeSecrets(
  tx: Transaction,
  policy: Policy,
  given: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  for (const name of given.keys())
    if (policy.secrets[name]?.kind !== "given")
      throw new CofferError(
        "config",
        `secrets.${name}: wanted a value for a secret of kind given, found ${policy.secrets[name]?.kind ?? "no such secret"}`,
      )
  // Authorities first: leaves are signed by them.
  const order = Object.entries(policy.secrets).toSorted(
    ([, a], [, b]) => Number(a.kind === "x509") - Number(b.kind === "x509"),
  )
  for (const [name, secret] of order) {
    const before = await rowOf(tx, policy.name, name)
    const value = given.get(name)
    if (before?.made === madeFrom(secret) && value === undefined) continue
    const row = await makeSecret(tx, policy.name, name, secret, value)
    if (row === undefined) continue
    await tx.put("secrets", secretKey(policy.name, name), row)
    tx.log("secret-made", secretKey(policy.name, name), {
      kind: secret.kind,
      replaced: before !== undefined,
    })
  }
  for (const key of await tx.keys("secrets", `${policy.name}/`, 100_000))
    if (!Object.hasOwn(policy.secrets, key.slice(policy.name.length + 1)))
      await tx.remove("secrets", key)
}

async function makeSecret(
  tx: Transaction,
  policy: string,
  name: string,
  secret: SecretPolicy,
  given: Uint8Array | undefined,
): Promise<SecretRow | undefined> {
  const made = madeFrom(secret)
  switch (secret.kind) {
    case "random":
      return {
        kind: "bytes",
        made,
        value: Buffer.from(randomBytes(secret.size)).toString("base64"),
      }
    case "ascii":
      return { kind: "bytes", made, value: Buffer.from(randomText(secret.size)).toString("base64") }
    case "given":
      if (given === undefined || given.length > secret.maxSize)
        throw new CofferError(
          "config",
          `secrets.${name}: wanted its value, at most ${secret.maxSize} bytes, found ${given === undefined ? "none" : `${given.length} bytes`}`,
          {
            hint: `--secret ${name}=FILE gives it`,
          },
        )
      return { kind: "bytes", made, value: Buffer.from(given).toString("base64") }
    case "x509-ca":
      return makeAuthority(secret, made, tx.time)
    case "x509":
      return makeLeaf(await rowOf(tx, policy, secret.ca), secret, made, tx.time)
    case "import":
      return undefined
  }
}

const hour = 3_600_000

function makeAuthority(
  secret: Extract<SecretPolicy, { kind: "x509-ca" }>,
  made: string,
  now: number,
): SecretRow {
  const pair = p256KeyPair()
  const notAfter = now + secret.validFor * 1000
  const cert = makeCertificate({
    commonName: secret.commonName,
    issuer: { commonName: secret.commonName, key: pair.privateKey, publicKey: pair.publicKey },
    publicKey: pair.publicKey,
    notBefore: now - hour,
    notAfter,
    use: "ca",
    names: [],
  })
  const key = pair.privateKey.export({ type: "pkcs8", format: "pem" })
  return {
    kind: "x509",
    made,
    subject: secret.commonName,
    key,
    cert,
    ca: cert,
    notAfter,
  }
}

function makeLeaf(
  authority: SecretRow | undefined,
  secret: Extract<SecretPolicy, { kind: "x509" }>,
  made: string,
  now: number,
): SecretRow {
  if (authority?.kind !== "x509") throw new TypeError("the authority is made before its leaves")
  const issuerKey = createPrivateKey(authority.key)
  const pair = p256KeyPair()
  const notAfter = Math.min(now + secret.validFor * 1000, authority.notAfter)
  const cert = makeCertificate({
    commonName: secret.commonName,
    issuer: {
      commonName: authority.subject,
      key: issuerKey,
      publicKey: createPublicKey(issuerKey),
    },
    publicKey: pair.publicKey,
    notBefore: now - hour,
    notAfter,
    use: secret.usage,
    names: secret.dns.map((value) => ({ type: "dns", value })),
  })
  const key = pair.privateKey.export({ type: "pkcs8", format: "pem" })
  return {
    kind: "x509",
    made,
    subject: secret.commonName,
    key,
    cert,
    ca: authority.cert,
    notAfter,
  }
}

/** The value of one secret, renewed when its certificate is about to end, followed to another policy when both agree. */
export async function resolveSecret(
  tx: Transaction,
  policy: Policy,
  name: string,
  policyOf: (
    name: string,
  ) => Promise<{ readonly policy: Policy; readonly hash: string } | undefined>,
): Promise<SecretRow> {
  const secret = policy.secrets[name]
  if (secret === undefined) throw new TypeError(`the document was checked: it has ${name}`)
  if (secret.kind === "import") return await resolveImport(tx, policy.name, name, secret, policyOf)
  const row = await rowOf(tx, policy.name, name)
  if (row === undefined)
    throw new CofferError("fault", `secret ${policy.name}/${name} has no value`)
  const authority = secret.kind === "x509" ? await rowOf(tx, policy.name, secret.ca) : undefined
  if (secret.kind !== "x509" || row.kind !== "x509" || authority?.kind !== "x509") return row
  if (row.ca === authority.cert && row.notAfter - secret.renewBefore * 1000 > tx.time) return row
  if (row.ca === authority.cert && row.notAfter >= authority.notAfter) return row // it ends with its authority
  const renewed = makeLeaf(authority, secret, row.made, tx.time)
  await tx.put("secrets", secretKey(policy.name, name), renewed)
  tx.log("secret-made", secretKey(policy.name, name), { kind: secret.kind, replaced: true })
  return renewed
}

async function resolveImport(
  tx: Transaction,
  importer: string,
  name: string,
  wanted: Extract<SecretPolicy, { kind: "import" }>,
  policyOf: (
    name: string,
  ) => Promise<{ readonly policy: Policy; readonly hash: string } | undefined>,
): Promise<SecretRow> {
  const source = await policyOf(wanted.policy)
  const secret = source?.policy.secrets[wanted.secret]
  // Both sides must agree, and one answer serves "is not there" and "is not for you".
  if (
    source === undefined ||
    secret === undefined ||
    secret.kind === "import" ||
    !secret.export.includes(importer)
  )
    throw refusedImport(
      name,
      `policy ${wanted.policy} to export ${wanted.secret} to ${importer}`,
      "that it does not",
    )
  if (wanted.hash !== undefined && wanted.hash !== source.hash)
    throw refusedImport(name, `policy ${wanted.policy} with hash ${wanted.hash}`, source.hash)
  return await resolveSecret(tx, source.policy, wanted.secret, policyOf)
}

function refusedImport(name: string, wanted: string, found: string): CofferError {
  return new CofferError("refused", `secrets.${name}: wanted ${wanted}, found ${found}`, {
    reason: "policy-secrets",
    facts: { field: `secrets.${name}`, wanted, found },
  })
}

/** One part of a value; `undefined` is the kind's first part. */
export function secretPart(row: SecretRow, part: string | undefined, name: string): Uint8Array {
  if (row.kind === "x509") {
    const texts: Readonly<Record<string, string>> = {
      chain: row.cert + row.ca,
      cert: row.cert,
      key: row.key,
      ca: row.ca,
    }
    const text = texts[part ?? "chain"]
    if (text === undefined) throw noPart(part, name)
    return Buffer.from(text)
  }
  const bytes = Buffer.from(row.value, "base64")
  const isRandom = row.made.startsWith('{"kind":"random"')
  switch (part ?? (isRandom ? "hex" : "text")) {
    case "raw":
    case "text":
      return bytes
    case "hex":
      return Buffer.from(toHex(bytes))
    case "base64":
      return Buffer.from(bytes.toString("base64"))
    default:
      throw noPart(part, name)
  }
}

function noPart(part: string | undefined, name: string): CofferError {
  return new CofferError(
    "config",
    `secrets.${name}: wanted one of its parts, found ${part ?? "none"}`,
    {
      reason: "secret-part",
    },
  )
}
