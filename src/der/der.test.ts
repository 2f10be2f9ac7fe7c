import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import * as w from "../../test/support/der-writer.ts"
import { ecKey, makeCertificate, makeCrl, makeRoot, testNow } from "../../test/support/pki.ts"
import { CofferError } from "../errors.ts"
import {
  DerReader,
  formatPem,
  oids,
  parseCanonicalPem,
  parseCertificate,
  parseCrl,
  parsePem,
  tag,
} from "./index.ts"

function integrity(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof CofferError && error.code === "integrity" && message.test(error.message)
}

const hex = (text: string) => new DerReader(Buffer.from(text.replaceAll(" ", ""), "hex"), "sample")

test("only the one DER form of a value is read", () => {
  const bad: readonly (readonly [
    bytes: string,
    read: (reader: DerReader) => unknown,
    says: RegExp,
  ])[] = [
    ["30 80 00 00", (r) => r.any("x"), /definite length/],
    ["30 81 01 00", (r) => r.any("x"), /shortest form/],
    ["30 82 00 81", (r) => r.any("x"), /shortest form/],
    ["30 85 00 00 00 00 01 00", (r) => r.any("x"), /definite length/],
    ["3f 01 00", (r) => r.any("x"), /tag below 31/],
    ["30 05 00", (r) => r.any("x"), /wanted 5 bytes/],
    ["30", (r) => r.any("x"), /a value/],
    ["02 00", (r) => r.unsigned("x"), /an integer/],
    ["02 02 00 01", (r) => r.unsigned("x"), /minimal/],
    ["02 01 ff", (r) => r.unsigned("x"), /not negative/],
    ["02 05 01 00 00 00 00", (r) => r.small("x"), /small number/],
    ["02 05 00 80 00 00 00", (r) => r.small("x"), /below 2\^31/],
    ["01 01 01", (r) => r.boolean("x"), /00 or ff/],
    ["01 02 ff ff", (r) => r.boolean("x"), /00 or ff/],
    ["03 02 01 ff", (r) => r.bits("x"), /unused bits/],
    ["03 00", (r) => r.bits("x"), /unused bits/],
    ["06 02 80 01", (r) => r.oid("x"), /minimal/],
    ["06 01 81", (r) => r.oid("x"), /object identifier/],
    ["06 00", (r) => r.oid("x"), /object identifier/],
    ["04 01 00", (r) => r.read(tag.integer, "x"), /tag 0x02, found 0x04/],
    ["17 0b 3236303233303030303030", (r) => r.time("x"), /UTC/],
    ["17 0d 3236303233303030303030305a", (r) => r.time("x"), /exists/],
    ["17 0d 3236303133323036303030305a", (r) => r.time("x"), /exists/],
  ]
  for (const [bytes, read, says] of bad)
    assert.throws(() => read(hex(bytes)), integrity(says), bytes)
})

test("what the writer writes is read back", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (n) => {
      assert.equal(new DerReader(w.integer(n), "n").small("n"), n)
    }),
  )
  for (const dotted of ["1.2.840.113741.1.13.1.2.16", "2.5.29.15", "2.999.1", "0.9.1"])
    assert.equal(new DerReader(w.oid(dotted), "oid").oid("oid"), dotted)
  for (const seconds of [0, testNow, 2_524_607_999, 2_524_608_000, 4_000_000_000])
    assert.equal(new DerReader(w.time(seconds), "time").time("time"), seconds)
})

const root = { name: "Root", key: ecKey() }

test("a certificate's fields", () => {
  const certificate = parseCertificate(
    makeCertificate({
      subject: "Leaf",
      publicKey: ecKey(),
      issuer: root,
      ca: true,
      pathLength: 3,
      keyUsage: ["certSign", "crlSign"],
      serial: 0xfedcba,
      extensions: [{ oid: "1.2.3", value: new Uint8Array([5, 0]) }],
    }),
  )
  assert.equal(certificate.serial, "fedcba")
  assert.equal(certificate.subject.commonName, "Leaf")
  assert.equal(certificate.issuer.text, "CN=Root")
  assert.deepEqual(certificate.basicConstraints, { ca: true, pathLength: 3 })
  assert.deepEqual(certificate.keyUsage, { digitalSignature: false, certSign: true, crlSign: true })
  assert.equal(certificate.extensions.get("1.2.3")?.critical, false)
  assert.ok(certificate.extensions.get(oids.basicConstraints)?.critical)
})

test("two common names are none", () => {
  const two = makeCertificate({ subject: "A", publicKey: ecKey(), issuer: root })
  const name = w.sequence(w.der(0x31, w.sequence(w.oid("2.5.4.3"), w.utf8String("A"))))
  const at = Buffer.from(two).indexOf(name)
  assert.ok(at > 0)
  const rdn = w.der(0x31, w.sequence(w.oid("2.5.4.3"), w.utf8String("A")))
  const body = w.sequence(
    w.integer(1),
    w.sequence(w.oid("1.2.840.10045.4.3.2")),
    name,
    w.sequence(w.time(0), w.time(1)),
    w.sequence(rdn, rdn),
    w.sequence(w.integer(1)),
  )
  const whole = w.sequence(
    body,
    w.sequence(w.oid("1.2.840.10045.4.3.2")),
    w.bits(new Uint8Array(1)),
  )
  assert.equal(parseCertificate(whole).subject.commonName, undefined)
})

test("the unsigned copy of the algorithm must be the signed one", () => {
  const bytes = Buffer.from(makeRoot(root))
  const algorithm = w.oid("1.2.840.10045.4.3.2")
  const last = bytes.lastIndexOf(algorithm)
  assert.ok(last > bytes.indexOf(algorithm))
  bytes[last + algorithm.length - 1] = 3
  assert.throws(() => parseCertificate(bytes), integrity(/signature algorithm/))
})

test("a CRL's fields", () => {
  const crl = parseCrl(makeCrl({ issuer: root, revoked: [5, 300], criticalExtension: "1.2.3" }))
  assert.deepEqual([...crl.revoked], ["05", "012c"])
  assert.deepEqual(crl.unknownCritical, ["1.2.3"])
  assert.equal(crl.number, "01")
  assert.equal(crl.nextUpdate, testNow + 86400)
})

test("hostile bytes end in an error of ours, never in another", () => {
  const samples = [makeRoot(root), makeCrl({ issuer: root, revoked: [1] })]
  for (const sample of samples) {
    const parse = sample === samples[0] ? parseCertificate : parseCrl
    const quiet = (bytes: Uint8Array) => {
      try {
        parse(bytes)
      } catch (error) {
        assert.ok(error instanceof CofferError && error.code === "integrity", String(error))
      }
    }
    for (let size = 0; size < sample.length; size += 1)
      assert.throws(() => parse(sample.subarray(0, size)), integrity(/./))
    assert.throws(() => parse(Buffer.concat([sample, Buffer.from([0])])), integrity(/end/))
    for (let at = 0; at < sample.length; at += 1)
      for (const bit of [0, 3, 7]) {
        const changed = Buffer.from(sample)
        changed[at] = (changed[at] ?? 0) ^ (1 << bit)
        quiet(changed)
      }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), quiet), { numRuns: 500 })
  }
})

function plain(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes)
}

test("canonical PEM: every change of a byte is refused", () => {
  const blocks = [makeRoot(root), makeCrl({ issuer: root })]
  const text = blocks.map((block) => formatPem("CERTIFICATE", block)).join("")
  for (const form of [text, `${text}\0`, text.slice(0, -1), text.replaceAll("\n", "\r\n")]) {
    const bytes = Buffer.from(form)
    assert.deepEqual(parseCanonicalPem(bytes, "x").map(plain), blocks.map(plain))
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at & 7))
      let found: readonly Uint8Array[] = []
      try {
        found = parseCanonicalPem(changed, "x")
      } catch {
        continue
      }
      // Where it is read still, the certificates' own bytes are others.
      assert.notDeepEqual(found.map(plain), blocks.map(plain), `byte ${at}`)
    }
  }
  for (const odd of [`${text}\n`, `x${text}`, `${text}\0\0`, `${text.slice(0, -1)}\0`, ""])
    assert.throws(() => parseCanonicalPem(Buffer.from(odd), "x"), integrity(/canonical PEM/))
})

test("people's PEM may have text around it, but no bad base64", () => {
  const block = formatPem("CERTIFICATE", new Uint8Array([1, 2, 3, 4]))
  assert.equal(parsePem(`subject=x\n${block}\n${block}`).length, 2)
  assert.throws(() => parsePem(block.replace("AQIDBA==", "AQIDBB==")), integrity(/base64/))
})
