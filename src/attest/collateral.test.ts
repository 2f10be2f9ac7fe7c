import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { buildDcap } from "../../test/support/dcap.ts"
import { FakeTsm } from "../../test/support/fake-tsm.ts"
import { flipped } from "../../test/support/flip.ts"
import { ecKey, makeCrl, makeRoot, spkiOf } from "../../test/support/pki.ts"
import { formatPem } from "../der/index.ts"
import { CofferError } from "../errors.ts"
import { parseCollateral } from "./collateral.ts"
import { rawMembers } from "./dcap/signed-json.ts"

const root = { name: "Root", key: ecKey() }
const certificate = makeRoot(root)
const crl = makeCrl({ issuer: root })
const built = buildDcap()
const [info] = built.collateral.tcbInfos
assert.ok(info !== undefined)
const chain = info.chain.map((item) => formatPem("CERTIFICATE", item.raw)).join("")
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

function counts(bytes: Uint8Array | string): string {
  const file = { name: "x", bytes: typeof bytes === "string" ? Buffer.from(bytes) : bytes }
  const { collateral, skipped } = parseCollateral([file])
  const { tcbInfos, identities, crls, certificates, attestationKeys } = collateral
  const all = [tcbInfos, identities, crls, certificates, attestationKeys, skipped]
  return all.map((list) => list.length).join(" ")
}

/** `sgx_ql_qve_collateral_t` as programs dump it. */
function dump(parts: readonly string[]): Uint8Array {
  const head = Buffer.alloc(8)
  head.writeUInt32LE(4)
  head.writeUInt32LE(0x81, 4)
  const sizes = parts.map((part) => {
    const pair = Buffer.alloc(16)
    pair.writeBigUInt64LE(BigInt(part.length), 8)
    return pair
  })
  return Buffer.concat([head, ...sizes, Buffer.from(parts.join(""))])
}

/** TPMT_PUBLIC of an attestation key, ECC P-256. */
const tpmKey = `0023000b00050072000000100018000b000300100020${"11".repeat(32)}0020${"22".repeat(32)}`
const signature = hex(info.signature)
const pcs = `{"tcbInfo":${info.text},"signature":"${signature}"}`

test("the shapes that people keep collateral in", () => {
  assert.equal(counts(certificate), "0 0 0 1 0 0")
  assert.equal(counts(crl), "0 0 1 0 0 0")
  assert.equal(counts(`${hex(crl)}\n`), "0 0 1 0 0 0")
  assert.equal(counts(chain), "0 0 0 2 0 0")
  assert.equal(counts(encodeURIComponent(chain)), "0 0 0 2 0 0")
  assert.equal(counts(formatPem("X509 CRL", crl)), "0 0 1 0 0 0")
  assert.equal(counts(formatPem("PUBLIC KEY", spkiOf(root.key))), "0 0 0 0 1 0")
  assert.equal(counts(spkiOf(root.key)), "0 0 0 0 1 0")
  assert.equal(counts(pcs), "1 0 0 0 0 0")
  assert.equal(counts(FakeTsm.certificateTable([certificate, certificate])), "0 0 0 2 0 0")
  const area = Buffer.from(tpmKey, "hex")
  assert.equal(counts(area), "0 0 0 0 1 0")
  assert.equal(counts(Buffer.concat([Buffer.from([0, area.length]), area])), "0 0 0 0 1 0")
  assert.equal(counts("some notes"), "0 0 0 0 0 1")
  assert.equal(counts(built.quote), "0 0 0 0 0 1")
  assert.equal(counts('{"a":1}'), "0 0 0 0 0 1")
  const parts = [
    chain,
    hex(crl),
    hex(crl),
    chain,
    `${pcs}\0`,
    chain,
    pcs.replace("tcbInfo", "enclaveIdentity"),
  ]
  assert.equal(counts(dump(parts)), "1 1 2 2 0 0")
})

test("one JSON with all: values as text or as objects, CRLs in hex, base64 or PEM", () => {
  for (const text of [JSON.stringify(info.text), info.text])
    for (const list of [
      hex(crl),
      Buffer.from(crl).toString("base64"),
      formatPem("X509 CRL", crl),
    ]) {
      const members = [
        `"tcb_info":${text}`,
        `"tcb_info_signature":"${signature}"`,
        `"tcb_info_issuer_chain":${JSON.stringify(chain)}`,
        `"pck_crl":${JSON.stringify(list)}`,
      ]
      const { collateral } = parseCollateral([
        { name: "x", bytes: Buffer.from(`{ ${members.join(" , ")} }`) },
      ])
      const [found] = collateral.tcbInfos
      assert.equal(found?.text, info.text)
      assert.equal(found.chain.length, 2)
      assert.equal(collateral.crls.length, 1)
    }
})

test("the text of a value is kept to the byte", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(3), (object, indent) => {
      const text = JSON.stringify(object, null, indent)
      const members = rawMembers(text, "x")
      const parsed = [...members].map(([name, raw]): [string, unknown] => [name, JSON.parse(raw)])
      assert.equal(JSON.stringify(Object.fromEntries(parsed)), JSON.stringify(JSON.parse(text)))
      for (const raw of members.values()) assert.ok(text.includes(raw))
    }),
  )
  const faulty = ['{"a":1,"a":2}', "[1]", "{", '"x"', ""]
  for (const text of faulty) assert.throws(() => rawMembers(text, "x"), CofferError, text)
})

function quiet(bytes: Uint8Array): void {
  try {
    parseCollateral([{ name: "x", bytes }])
  } catch (error) {
    assert.ok(error instanceof CofferError && error.code === "integrity", String(error))
  }
}

test("hostile files end in an error of ours, or are skipped", () => {
  const samples = [
    certificate,
    crl,
    Buffer.from(chain),
    Buffer.from(pcs),
    FakeTsm.certificateTable([certificate]),
    dump([chain, hex(crl), hex(crl), chain, pcs, chain, pcs]),
  ]
  for (const sample of samples) {
    const stride = Math.ceil(sample.length / 300)
    for (let at = 0; at < sample.length; at += stride) {
      quiet(flipped(sample, at))
      quiet(sample.subarray(0, at))
    }
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), quiet), { numRuns: 500 })
  fc.assert(fc.property(fc.string(), (text) => quiet(Buffer.from(`{"tcb_info":${text}}`))))
})
