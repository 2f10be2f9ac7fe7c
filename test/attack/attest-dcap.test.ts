import assert from "node:assert/strict"
import { test } from "node:test"
import type { Collateral } from "../../src/attest/collateral.ts"
import { verifyDcapQuote } from "../../src/attest/dcap/verify.ts"
import { productionRoots } from "../../src/attest/roots.ts"
import { parseCrl } from "../../src/der/index.ts"
import { type Built, buildDcap, type World } from "../support/dcap.ts"
import { flipped } from "../support/flip.ts"
import { ecKey, makeCrl, testNow, year } from "../support/pki.ts"
import { refused, verdictOf } from "../support/refused.ts"

/** Chains, collateral and quotes by a certification authority of our own: each wrong in one thing, refused for that thing. */

function verdict(world: World, change: (built: Built) => Partial<Built> = () => ({})): string {
  const built = buildDcap(world)
  const changed = { ...built, ...change(built) }
  return verdictOf(() => verifyDcapQuote(changed.quote, changed))
}

function withCollateral(change: (collateral: Collateral) => Partial<Collateral>) {
  return (built: Built): Partial<Built> => ({
    collateral: { ...built.collateral, ...change(built.collateral) },
  })
}

const stranger = { name: "Intel SGX Root CA", key: ecKey() }

test("what is right is accepted: SGX v3, TDX v4, TDX v5, in either order of the chain", () => {
  for (const world of [
    {},
    { version: 4 },
    { version: 5 },
    { tee: "tdx" },
    { tee: "tdx", version: 5 },
    { tee: "tdx", td15: true },
    { order: [0, 2, 1] },
    { order: [0, 1] },
    { derChain: true },
    { tee: "tdx", derChain: true },
  ] as const)
    assert.equal(verdict(world), "accepted", JSON.stringify(world))
})

const forgedChains: readonly (readonly [what: string, world: World, reason: string])[] = [
  ["an intermediate that is no CA", { authority: { ca: false } }, "chain-not-ca"],
  ["an intermediate without basic constraints", { authority: { ca: undefined } }, "chain-not-ca"],
  ["an intermediate that may not sign", { authority: { keyUsage: ["crlSign"] } }, "chain-not-ca"],
  ["a root that is no CA", { root: { ca: false } }, "chain-not-ca"],
  ["a root with no room under it", { root: { pathLength: 0 } }, "chain-path-length"],
  ["a PCK with another name", { pck: { subject: "Intel SGX TCB Signing" } }, "chain-role"],
  ["an intermediate with another name", { authority: { subject: "Somebody" } }, "chain-name"],
  [
    "an issuer name that nobody has",
    { pck: { issuer: { name: "Intel SGX PCK Processor CA", key: stranger.key } } },
    "chain-name",
  ],
  ["a PCK right under the root", { pck: { issuer: buildDcap().parties.root } }, "chain-role"],
  [
    "a PCK that another key signed",
    { pck: { issuer: { name: "Intel SGX PCK Platform CA", key: stranger.key } } },
    "chain-signature",
  ],
  [
    "an intermediate that another root signed",
    { authority: { issuer: stranger } },
    "chain-signature",
  ],
  ["an expired PCK", { pck: { notAfter: testNow - 1 } }, "chain-expired"],
  ["an expired intermediate", { authority: { notAfter: testNow - 1 } }, "chain-expired"],
  ["an expired root", { root: { notAfter: testNow - 1 } }, "chain-expired"],
  ["a PCK of tomorrow", { pck: { notBefore: testNow + 1 } }, "chain-not-yet-valid"],
  ["a PCK that is a CA", { pck: { ca: true } }, "chain-role"],
  [
    "a critical extension that nobody knows",
    {
      authority: {
        extensions: [{ oid: "1.2.3.4", critical: true, value: new Uint8Array([5, 0]) }],
      },
    },
    "chain-critical-extension",
  ],
  [
    "a TCB signer in another role",
    { tcbSigner: { subject: "Intel SGX PCK Certificate" } },
    "chain-role",
  ],
  ["an expired TCB signer", { tcbSigner: { notAfter: testNow - 1 } }, "chain-expired"],
  [
    "a TCB signer under the PCK CA",
    { tcbSigner: { issuer: buildDcap().parties.authority } },
    "chain-role",
  ],
  ["a PCK without Intel's extension", { pck: { extensions: [] } }, "pck-extension"],
  ["two roots in the quote", { order: [0, 1, 2, 2] }, "chain-superfluous"],
]

for (const [what, world, reason] of forgedChains)
  test(`forged chain: ${what}: ${reason}`, () => assert.equal(verdict(world), reason))

test("a root that is not pinned", () => {
  assert.equal(
    verdict({}, () => ({ roots: productionRoots })),
    "root-not-pinned",
  )
})

test("the ends of a certificate's time are inside it", () => {
  for (const now of [testNow - 86400, testNow + 86400])
    assert.equal(
      verdict({}, () => ({ now })),
      "accepted",
    )
  for (const now of [testNow - 2 * year, testNow + 2 * year])
    assert.match(
      verdict({}, () => ({ now })),
      /^chain-/,
    )
})

const wrongCrls: readonly (readonly [what: string, world: World, reason: string])[] = [
  ["revoked PCK", { pck: { serial: 77 }, pckCrl: { revoked: [77] } }, "revoked"],
  ["revoked intermediate", { authority: { serial: 78 }, rootCrl: { revoked: [78] } }, "revoked"],
  ["revoked TCB signer", { tcbSigner: { serial: 79 }, rootCrl: { revoked: [79] } }, "revoked"],
  [
    "serial 200 among others",
    { pck: { serial: 200 }, pckCrl: { revoked: [1, 200, 3] } },
    "revoked",
  ],
  ["another serial revoked", { pck: { serial: 77 }, pckCrl: { revoked: [76, 78] } }, "accepted"],
  ["expired PCK CRL", { pckCrl: { nextUpdate: testNow - 1 } }, "crl-expired"],
  ["expired root CRL", { rootCrl: { nextUpdate: testNow - 1 } }, "crl-expired"],
  ["CRL of tomorrow", { pckCrl: { thisUpdate: testNow + 1 } }, "crl-not-yet-valid"],
  [
    "CRL of another CA",
    { pckCrl: { issuer: { name: "Another", key: stranger.key } } },
    "crl-issuer",
  ],
  [
    "CRL that another key signed",
    { pckCrl: { issuer: { name: "Intel SGX PCK Platform CA", key: stranger.key } } },
    "crl-signature",
  ],
  ["CRL by a CA that may sign none", { authority: { keyUsage: ["certSign"] } }, "crl-signature"],
  [
    "CRL with an unknown critical extension",
    { pckCrl: { criticalExtension: "1.2.3" } },
    "crl-critical-extension",
  ],
]

for (const [what, world, reason] of wrongCrls)
  test(`revocation: ${what}: ${reason}`, () => assert.equal(verdict(world), reason))

test("one CRL of two is no revocation check; no CRL at all is said in the claims", () => {
  const one = withCollateral(({ crls }) => ({ crls: crls.slice(0, 1) }))
  assert.equal(verdict({}, one), "crl-issuer")
  const built = buildDcap()
  const claims = verifyDcapQuote(built.quote, {
    ...built,
    collateral: { ...built.collateral, crls: [] },
  })
  assert.equal(claims.revocationChecked, false)
})

test("a revocation in an older list counts still", () => {
  const built = buildDcap({ pck: { serial: 77 } })
  const old = makeCrl({
    issuer: built.parties.authority,
    revoked: [77],
    thisUpdate: testNow - 20 * 86400,
    nextUpdate: testNow - 10 * 86400,
  })
  const crls = [...built.collateral.crls, parseCrl(old)]
  const collateral = { ...built.collateral, crls }
  assert.throws(() => verifyDcapQuote(built.quote, { ...built, collateral }), refused("revoked"))
})

const iso = (seconds: number) => new Date(seconds * 1000).toISOString()

const wrongDocuments: readonly (readonly [what: string, world: World, reason: string])[] = [
  ["expired TCB info", { tcbInfo: { nextUpdate: iso(testNow - 1) } }, "tcb-info-expired"],
  ["TCB info of tomorrow", { tcbInfo: { issueDate: iso(testNow + 10) } }, "tcb-info-not-yet-valid"],
  ["TCB info of another machine", { tcbInfo: { fmspc: "000000000000" } }, "tcb-info-fmspc"],
  ["TCB info of another PCE", { tcbInfo: { pceId: "0001" } }, "tcb-info-pceid"],
  ["TCB info of TDX for SGX", { tcbInfo: { id: "TDX" } }, "tcb-info-tee"],
  ["TCB info of SGX for TDX", { tee: "tdx", tcbInfo: { id: "SGX" } }, "tcb-info-tee"],
  ["TCB info of another type", { tcbInfo: { tcbType: 1 } }, "tcb-info-malformed"],
  ["expired QE identity", { qeIdentity: { nextUpdate: iso(testNow - 1) } }, "qe-identity-expired"],
  ["identity of another enclave", { qeIdentity: { id: "TD_QE" } }, "qe-identity-id"],
  ["QE of another signer", { qeIdentity: { mrsigner: "00".repeat(32) } }, "qe-identity-mrsigner"],
  ["QE of another product", { qeIdentity: { isvprodid: 1 } }, "qe-identity-isvprodid"],
  [
    "QE with other attributes",
    { qeIdentity: { attributes: "00".repeat(16) } },
    "qe-identity-attributes",
  ],
  ["QE with other misc", { qeIdentity: { miscselect: "01000000" } }, "qe-identity-miscselect"],
  ["QE below every level", { qeSvn: 3 }, "qe-not-supported"],
  ["platform below every level", { pckSvn: 4 }, "tcb-not-supported"],
  ["PCE below every level", { levels: [{ status: "UpToDate", pceSvn: 14 }] }, "tcb-not-supported"],
  [
    "TD below every level",
    { tee: "tdx", levels: [{ status: "UpToDate", tdx: [0, 0, 7] }] },
    "tcb-not-supported",
  ],
  ["revoked level", { levels: [{ status: "Revoked" }] }, "tcb-revoked"],
  ["revoked QE", { qeLevels: [{ svn: 4, status: "Revoked" }] }, "tcb-revoked"],
  [
    "revoked TDX module",
    { tee: "tdx", moduleLevels: [{ svn: 5, status: "Revoked" }] },
    "tcb-revoked",
  ],
  [
    "TDX module below every level",
    { tee: "tdx", moduleLevels: [{ svn: 6, status: "UpToDate" }] },
    "tdx-module-not-supported",
  ],
  ["TDX module of an unknown version", { tee: "tdx", teeTcbSvn: [5, 9, 6] }, "tdx-module-mismatch"],
]

for (const [what, world, reason] of wrongDocuments)
  test(`collateral: ${what}: ${reason}`, () => assert.equal(verdict(world), reason))

test("a document that is changed, unsigned or without signer", () => {
  const changed = withCollateral(({ tcbInfos: [info] }) => ({
    tcbInfos:
      info === undefined ? [] : [{ ...info, text: info.text.replace("UpToDate", "UpToDate ") }],
  }))
  assert.equal(verdict({}, changed), "tcb-info-signature")
  const unsigned = withCollateral(({ identities: [item] }) => ({
    identities: item === undefined ? [] : [{ ...item, signature: new Uint8Array(64) }],
  }))
  assert.equal(verdict({}, unsigned), "qe-identity-signature")
  const orphan = withCollateral(({ tcbInfos: [info] }) => ({
    tcbInfos: info === undefined ? [] : [{ ...info, chain: [] }],
  }))
  assert.equal(verdict({}, orphan), "tcb-info-signer")
  assert.equal(
    verdict(
      {},
      withCollateral(() => ({ identities: [] })),
    ),
    "qe-identity-missing",
  )
  assert.equal(
    verdict(
      {},
      withCollateral(() => ({ tcbInfos: [] })),
    ),
    "tcb-info-missing",
  )
})

const states: readonly (readonly [world: World, status: string])[] = [
  [{ qeLevels: [{ svn: 4, status: "OutOfDate" }] }, "OutOfDate"],
  [
    {
      qeLevels: [{ svn: 4, status: "OutOfDate" }],
      levels: [{ status: "ConfigurationAndSWHardeningNeeded" }],
    },
    "OutOfDateConfigurationNeeded",
  ],
  [
    { levels: [{ status: "UpToDate", sgx: 6 }, { status: "SWHardeningNeeded" }] },
    "SWHardeningNeeded",
  ],
  [{ tee: "tdx", teeTcbSvn: [0, 0, 6] }, "UpToDate"],
  [
    { tee: "tdx", levels: [{ status: "UpToDate", tdx: [9, 9, 6] }, { status: "OutOfDate" }] },
    "UpToDate",
  ],
  [
    {
      tee: "tdx",
      teeTcbSvn: [5, 0, 6],
      levels: [{ status: "UpToDate", tdx: [9, 0, 6] }, { status: "OutOfDate" }],
    },
    "OutOfDate",
  ],
  [
    {
      tee: "tdx",
      moduleLevels: [
        { svn: 6, status: "UpToDate" },
        { svn: 1, status: "OutOfDate" },
      ],
    },
    "OutOfDate",
  ],
  [
    {
      tee: "tdx",
      td15: true,
      teeTcbSvn2: [6, 1, 6],
      moduleLevels: [
        { svn: 6, status: "UpToDate" },
        { svn: 1, status: "OutOfDate" },
      ],
    },
    "TDRelaunchAdvised",
  ],
  [
    {
      tee: "tdx",
      td15: true,
      teeTcbSvn2: [6, 1, 6],
      levels: [{ status: "ConfigurationNeeded" }],
      moduleLevels: [
        { svn: 6, status: "UpToDate" },
        { svn: 1, status: "OutOfDate" },
      ],
    },
    "TDRelaunchAdvisedConfigurationNeeded",
  ],
  [
    {
      tee: "tdx",
      td15: true,
      teeTcbSvn2: [5, 1, 6],
      moduleLevels: [
        { svn: 6, status: "UpToDate" },
        { svn: 1, status: "OutOfDate" },
      ],
    },
    "OutOfDate",
  ],
  [
    {
      tee: "tdx",
      td15: true,
      teeTcbSvn2: [6, 1, 6],
      qeLevels: [{ svn: 4, status: "OutOfDate" }],
      moduleLevels: [
        { svn: 6, status: "UpToDate" },
        { svn: 1, status: "OutOfDate" },
      ],
    },
    "OutOfDate",
  ],
]

for (const [world, status] of states)
  test(`state of the platform: ${JSON.stringify(world)}: ${status}`, () => {
    const built = buildDcap(world)
    assert.equal(verifyDcapQuote(built.quote, built).tcb?.status, status)
  })

test("advisories of level, module and QE come together, once each", () => {
  const built = buildDcap({
    levels: [{ status: "OutOfDate", advisories: ["INTEL-SA-2", "INTEL-SA-1", "INTEL-SA-2"] }],
  })
  const claims = verifyDcapQuote(built.quote, built)
  assert.deepEqual(claims.tcb?.advisories, ["INTEL-SA-1", "INTEL-SA-2"])
  assert.equal(claims.tcb.evaluationNumber, 17)
  assert.equal(claims.revocationChecked, true)
})

test("debug is a claim, not a verdict", () => {
  const sgx = buildDcap({ attributes: "0700000000000000e700000000000000" })
  assert.equal(verifyDcapQuote(sgx.quote, sgx).debug, true)
  const tdx = buildDcap({ tee: "tdx", attributes: "0100001000000000" })
  assert.equal(verifyDcapQuote(tdx.quote, tdx).debug, true)
})

test("every single-byte change of a quote is refused", () => {
  for (const world of [{}, { tee: "tdx", td15: true }, { derChain: true }] as const) {
    const built = buildDcap(world)
    for (let at = 0; at < built.quote.length; at += 1) {
      if (at % (at > 1200 ? 31 : 3) !== 0 && at < built.quote.length - 80) continue
      const quote = flipped(built.quote, at)
      const said = verdictOf(() => verifyDcapQuote(quote, built))
      assert.notEqual(said, "accepted", `byte ${at} of ${JSON.stringify(world)}`)
    }
  }
})

test("truncated at any length, or longer, a quote is refused", () => {
  const built = buildDcap()
  for (let size = 0; size < built.quote.length; size += 13)
    assert.equal(
      verdictOf(() => verifyDcapQuote(built.quote.subarray(0, size), built)),
      "quote-malformed",
    )
  const longer = (byte: number) => Buffer.concat([built.quote, Buffer.from([0, byte])])
  assert.equal(
    verdictOf(() => verifyDcapQuote(longer(0), built)),
    "accepted",
  )
  assert.equal(
    verdictOf(() => verifyDcapQuote(longer(1), built)),
    "quote-trailing-bytes",
  )
})
