import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { ecKey, makeCrl, makeRoot } from "../../test/support/pki.ts"
import { formatPem } from "../der/index.ts"
import { CofferError } from "../errors.ts"
import { FreshCollateral } from "./fresh-collateral.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-fresh-"))
after(() => rmSync(folder, { recursive: true, force: true }))

test("renewed files count within a minute; broken ones are said, and the last stay", () => {
  const issuer = { name: "Root", key: ecKey() }
  writeFileSync(join(folder, "root.pem"), formatPem("CERTIFICATE", makeRoot(issuer)))
  const warnings: string[] = []
  let now = 1_000_000
  const fresh = new FreshCollateral(
    [folder],
    (line) => warnings.push(line),
    () => now,
  )
  const counts = () => [fresh.collateral.certificates.length, fresh.collateral.crls.length]
  assert.deepEqual(counts(), [1, 0])
  const list = join(folder, "list.pem")
  writeFileSync(list, formatPem("X509 CRL", makeCrl({ issuer })))
  assert.deepEqual(counts(), [1, 0])
  now += 60_000
  assert.deepEqual(counts(), [1, 1])
  writeFileSync(list, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
  now += 60_000
  assert.deepEqual(counts(), [1, 1])
  assert.match(
    warnings.join("\n"),
    /^coffer: collateral: .*list\.pem.*: the last that could be read is used$/,
  )
  assert.throws(() => new FreshCollateral([folder], () => undefined), CofferError)
})
