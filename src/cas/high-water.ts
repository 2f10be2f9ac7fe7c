import { z } from "zod"
import type { CrlClaims, PlatformClaims } from "../attest/index.ts"
import { CofferError } from "../errors.ts"
import type { Transaction } from "./ledger.ts"

const rowSchema = z.strictObject({
  evaluationNumber: z.int(),
  /** Unix seconds: the newest issue time of all signed collateral. */
  issuedAt: z.int(),
})

/**
 * Collateral comes from files that the adversary may put back to an older, once valid state, to hide a revocation. So the
 * CAS remembers the newest that it has seen for each kind of machine and takes nothing older; and it does not believe a
 * clock that is before what was signed.
 */
export async function requireNewestCollateral(
  tx: Transaction,
  claims: PlatformClaims,
): Promise<void> {
  const machine = claims.type === "azure" ? claims.hardware : claims
  if ("crls" in machine) for (const crl of machine.crls) await requireNewestCrl(tx, crl)
  await requireNewestTcb(tx, machine)
}

const crlRowSchema = z.strictObject({
  /** Lower-case hex. */
  number: z.string(),
  thisUpdate: z.int(),
})

/** Lists of one issuer have rising numbers, and rising times where they have no number. */
async function requireNewestCrl(tx: Transaction, crl: CrlClaims): Promise<void> {
  const key = `collateral/crl/${crl.issuer}`
  const row = await tx.get("meta", key)
  const seen = row === undefined ? { number: "0", thisUpdate: 0 } : crlRowSchema.parse(row)
  const [before, now] = [BigInt(`0x${seen.number}`), BigInt(`0x${crl.number ?? "0"}`)]
  if (now < before) throw older("CRL number", Number(before), Number(now))
  if (now === before && crl.thisUpdate < seen.thisUpdate)
    throw older("CRL time", seen.thisUpdate, crl.thisUpdate)
  if (now === before && crl.thisUpdate === seen.thisUpdate) return
  await tx.put("meta", key, { number: crl.number ?? "0", thisUpdate: crl.thisUpdate })
}

async function requireNewestTcb(tx: Transaction, claims: PlatformClaims): Promise<void> {
  if (claims.type !== "tdx" && claims.type !== "sgx") return
  const { tcb } = claims
  if (tcb === undefined) return
  const key = `collateral/${claims.type}/${claims.fmspc}`
  const row = await tx.get("meta", key)
  const seen = row === undefined ? { evaluationNumber: 0, issuedAt: 0 } : rowSchema.parse(row)
  if (tcb.evaluationNumber < seen.evaluationNumber)
    throw older("evaluation number", seen.evaluationNumber, tcb.evaluationNumber)
  if (tcb.issuedAt < seen.issuedAt) throw older("issue time", seen.issuedAt, tcb.issuedAt)
  if (tx.time / 1000 < tcb.issuedAt) throw older("clock", tcb.issuedAt, Math.floor(tx.time / 1000))
  if (tcb.evaluationNumber === seen.evaluationNumber && tcb.issuedAt === seen.issuedAt) return
  await tx.put("meta", key, { evaluationNumber: tcb.evaluationNumber, issuedAt: tcb.issuedAt })
}

function older(what: string, wanted: number, found: number): CofferError {
  return new CofferError(
    "refused",
    `collateral: ${what}: wanted ${wanted} or later, which this CAS has seen, found ${found}`,
    {
      reason: "collateral-older",
      hint: "renew the collateral of the CAS; coffer node collateral shows what is stale",
    },
  )
}
