import { generateKeyPairSync, type KeyObject } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  type EnclaveClaims,
  makeEvidence,
  rawPublicKey,
  simEvidence,
} from "../../src/attest/index.ts"
import { toHex } from "../../src/bytes/index.ts"
import { type Act, type ActBody, type Cas, type CasClient, signAct } from "../../src/cas/index.ts"
import { parsePolicy } from "../../src/policy/index.ts"

export const mrEnclave = "ab".repeat(32)
export const mrSigner = "cd".repeat(32)

export const enclave: EnclaveClaims = {
  mrEnclave,
  mrSigner,
  productId: 7,
  svn: 3,
  debug: false,
  engineTrusted: true,
  runtimeVersion: [0, 1, 0],
}

/** A person with an access key. */
export interface Person {
  readonly key: KeyObject
  readonly public: string
}

export function person(): Person {
  const { privateKey } = generateKeyPairSync("ed25519")
  return { key: privateKey, public: toHex(rawPublicKey(privateKey)) }
}

/** A node agent on an insecure-sim platform. */
export class Node {
  readonly key = generateKeyPairSync("ed25519").privateKey
  readonly sim = generateKeyPairSync("ed25519").privateKey
  #platform: ReturnType<typeof simEvidence> | undefined

  /** The platform's public key, as a policy may name it. */
  get platformKey(): string {
    return toHex(rawPublicKey(this.sim))
  }

  async prepare(client: CasClient): Promise<this> {
    this.#platform = simEvidence(this.sim, await client.challenge(), rawPublicKey(this.key))
    return this
  }

  evidence(binding: Parameters<typeof makeEvidence>[3], claims: Partial<EnclaveClaims> = {}) {
    if (this.#platform === undefined) throw new TypeError("prepare first")
    return makeEvidence(this.#platform, { ...enclave, ...claims }, this.key, binding)
  }
}

export function policyText(admin: string, extra = ""): string {
  return `version: 1
name: shop
services:
  web:
    measurements: ["${mrEnclave}"]
    signer: { mrsigner: "${mrSigner}", product: 7, minSvn: 3 }
    platforms: [dev]
    minRuntime: 0.1.0
    argv: [/app/main, "--token=$$secret:token$$"]
    env: { TOKEN: "$$secret:token$$" }
    files: { /etc/app/tls.pem: { content: "$$secret:tls:chain$$$$secret:tls:key$$" } }
    volumes: { data: write, audit: write }
  reader:
    measurements: ["${mrEnclave}"]
    platforms: [dev]
    volumes: { data: read, audit: read }
platforms:
  dev: { type: insecure-sim }
volumes:
  data: { instances: 2 }
  audit: { protection: authenticated }
secrets:
  token: { kind: ascii, size: 24 }
  ca: { kind: x509-ca, commonName: Shop CA }
  tls: { kind: x509, ca: ca, commonName: shop, dns: [shop.example], validFor: 60d, renewBefore: 20d }
access:
  keys: { alice: "${admin}" }
  update: { of: [alice] }
${extra}`
}

export function act(
  cas: Cas,
  policy: string,
  body: ActBody,
  people: readonly Person[],
  now = Date.now(),
) {
  const document: Act = {
    version: 1,
    cas: cas.identity.name,
    policy,
    expires: Math.floor(now / 1000) + 60,
    body,
  }
  return signAct(
    document,
    people.map(({ key }) => key),
  )
}

export async function putPolicy(
  cas: Cas,
  text: string,
  people: readonly Person[],
  given: Record<string, string> = {},
  now = Date.now(),
) {
  const document = parsePolicy(text, "policy.yaml")
  return await cas.act(
    act(cas, document.name, { verb: "put-policy", document, given }, people, now),
  )
}

export function scratch(): { readonly dir: string; readonly remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), "coffer-cas-"))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}
