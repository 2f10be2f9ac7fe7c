import assert from "node:assert/strict"
import { test } from "node:test"
import type { CrlClaims, PlatformClaims, SnpClaims, TdxClaims } from "../attest/index.ts"
import { CofferError } from "../errors.ts"
import { requireNewestCollateral } from "./high-water.ts"
import type { Transaction } from "./ledger.ts"

/** A table in memory: what the CAS remembers. */
function memory(seconds: number): Transaction {
  const rows = new Map<string, unknown>()
  const part = {
    time: seconds * 1000,
    get: (_: string, key: string) => Promise.resolve(rows.get(key)),
    put: (_: string, key: string, value: unknown) => {
      rows.set(key, JSON.parse(JSON.stringify(value)))
      return Promise.resolve()
    },
  }
  return part as unknown as Transaction
}

const older = (what: string) => (error: unknown) =>
  error instanceof CofferError &&
  error.reason === "collateral-older" &&
  error.message.startsWith(`collateral: ${what}: wanted `)

function snp(...crls: readonly CrlClaims[]): PlatformClaims {
  const claims: Pick<SnpClaims, "type" | "crls"> = { type: "sev-snp", crls }
  return claims as SnpClaims
}

function tdx(evaluationNumber: number, issuedAt: number): PlatformClaims {
  const claims = { type: "tdx", fmspc: "00", crls: [], tcb: { evaluationNumber, issuedAt } }
  return claims as unknown as TdxClaims
}

const list = (number: string | undefined, thisUpdate: number, issuer = "aa"): CrlClaims => ({
  issuer,
  number,
  thisUpdate,
})

test("of each issuer no list of revoked certificates that is older than one that was seen", async () => {
  const tx = memory(1000)
  const seen = (claims: PlatformClaims) => requireNewestCollateral(tx, claims)
  await seen(snp(list("0f", 100)))
  await seen(snp(list("10", 50)))
  await seen(snp(list("10", 50)))
  await assert.rejects(seen(snp(list("0f", 200))), older("CRL number"))
  await assert.rejects(seen(snp(list("10", 49))), older("CRL time"))
  await assert.rejects(seen(snp(list(undefined, 999))), older("CRL number"))
  await seen(snp(list("01", 1, "bb"), list("11", 60)))
  const azure = { type: "azure", hardware: snp(list("10", 70)) } as unknown as PlatformClaims
  await assert.rejects(seen(azure), older("CRL number"))
  // Lists without numbers go by their time.
  await seen(snp(list(undefined, 10, "cc")))
  await assert.rejects(seen(snp(list(undefined, 9, "cc"))), older("CRL time"))
})

test("no older TCB evaluation, no earlier issue time, no clock before what was signed", async () => {
  const tx = memory(1000)
  const seen = (claims: PlatformClaims) => requireNewestCollateral(tx, claims)
  await seen(tdx(17, 500))
  await assert.rejects(seen(tdx(16, 600)), older("evaluation number"))
  await assert.rejects(seen(tdx(17, 499)), older("issue time"))
  await assert.rejects(seen(tdx(18, 1001)), older("clock"))
  await seen(tdx(18, 600))
})
