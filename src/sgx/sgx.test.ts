import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { tableFaults, toHex } from "../bytes/index.ts"
import { sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import {
  MrEnclave,
  readSigningKey,
  SgxsReader,
  sampleMrSigner,
  signSigstruct,
  verifySigstruct,
} from "./index.ts"
import { quotients } from "./rsa.ts"
import { refuseSampleSigner, sigstructSize, sigstructTable } from "./sigstruct.ts"

const folder = "../shared/vectors"
const skip = existsSync(folder) ? false : "third-party vectors are not here"
const read = (name: string) => readFileSync(`${folder}/${name}`)

interface Expected {
  readonly mrenclave: string
  readonly mrsigner: string
  readonly date: string
  readonly isvprodid: number
  readonly isvsvn: number
  readonly attributes: string
}

test("the fields of SIGSTRUCT touch and add up", () => {
  assert.deepEqual(tableFaults(sigstructTable, 1808), [])
  assert.equal(sigstructSize, 1808)
})

test("third-party SIGSTRUCTs verify, with the published claims", { skip }, () => {
  const expected = (
    JSON.parse(read("expected-intel.json").toString()) as {
      "sgx-sigstruct": Record<string, Expected>
    }
  )["sgx-sigstruct"]
  assert.equal(Object.keys(expected).length, 4)
  for (const [name, want] of Object.entries(expected)) {
    const claims = verifySigstruct(read(`sgx-sigstruct/${name}`))
    assert.equal(toHex(claims.mrEnclave), want.mrenclave, name)
    assert.equal(toHex(claims.mrSigner), want.mrsigner, name)
    assert.equal(claims.date, want.date, name)
    assert.equal(claims.isvProdId, want.isvprodid, name)
    assert.equal(claims.isvSvn, want.isvsvn, name)
    assert.equal(toHex(claims.attributes), want.attributes, name)
  }
})

test("signing again gives the third-party bytes", { skip }, () => {
  for (const [sigstruct, key] of [
    ["sgx-sigstruct/sig1.sigstruct.bin", "sgx-sigstruct/sig1.key.pem"],
    ["sgx-sigstruct/encl.ss", "sgx-sigstruct/encl.pem"],
    ["synthetic/synthetic.sigstruct.bin", "synthetic/synthetic.key.pem"],
  ] as const) {
    const bytes = read(sigstruct)
    const signing = readSigningKey(read(key).toString(), key)
    const again = signSigstruct(verifySigstruct(bytes), signing, { insecureAllowSampleKey: true })
    assert.equal(toHex(again), toHex(bytes), sigstruct)
  }
})

test("the quotients of a third-party signature", { skip }, () => {
  const [n = "", signature = "", q1 = "", q2 = ""] = ["key_n", "sig", "q1", "q2"].map((part) =>
    toHex(read(`sgx-sigstruct/sig1.${part}.bin`)),
  )
  const found = quotients(Uint8Array.fromHex(signature), Uint8Array.fromHex(n))
  assert.equal(toHex(found.q1), q1)
  assert.equal(toHex(found.q2), q2)
})

function refused(error: unknown): boolean {
  return (
    error instanceof CofferError && error.code === "refused" && error.reason === "sample-signer"
  )
}

test("the published sample key is refused, for signing and as a signer", { skip }, () => {
  const claims = verifySigstruct(read("sgx-sigstruct/sig1.sigstruct.bin"))
  const key = readSigningKey(read("sgx-sigstruct/sig1.key.pem").toString(), "sig1.key.pem")
  assert.equal(toHex(claims.mrSigner), sampleMrSigner)
  assert.throws(() => signSigstruct(claims, key), refused)
  assert.throws(() => refuseSampleSigner(claims.mrSigner), refused)
})

test("every byte of a SIGSTRUCT counts", { skip }, () => {
  const bytes = read("synthetic/synthetic.sigstruct.bin")
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Uint8Array.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.throws(() => verifySigstruct(changed), { code: "integrity" }, `byte ${at}`)
  }
  for (let size = 0; size < bytes.length; size += 101)
    assert.throws(() => verifySigstruct(bytes.subarray(0, size)), { code: "integrity" })
})

test("the synthetic stream has its MrEnclave, in pieces of any size", { skip }, () => {
  const want = "bbae4d755863eb266e1052491a76d6ac20d42079e5e3c4b02a55b78deedd95b9"
  const stream = read("synthetic/synthetic.sgxs")
  for (const piece of [1, 63, 64, 320, 4096, stream.length]) {
    const reader = new SgxsReader()
    for (let at = 0; at < stream.length; at += piece) reader.update(stream.subarray(at, at + piece))
    const { mrEnclave, ...rest } = reader.finish()
    assert.equal(toHex(mrEnclave), want)
    assert.deepEqual(rest, {
      ssaFrameSize: 1,
      enclaveSize: 65536,
      pageCount: 6,
      chunkCount: 80,
      unmeasuredCount: 0,
    })
  }
  assert.equal(toHex(sha256(stream)), want)
})

function smallStream(): Uint8Array {
  const parts: Uint8Array[] = []
  const builder = new MrEnclave({ ssaFrameSize: 1, size: 8192 }, (bytes) =>
    parts.push(Uint8Array.from(bytes)),
  )
  builder.addMeasured(0, 0x205, new Uint8Array(4096).fill(7))
  builder.add(4096, 0x203)
  const stream = Buffer.concat(parts)
  assert.equal(toHex(builder.digest()), toHex(sha256(stream)))
  return stream
}

function measure(stream: Uint8Array): string {
  const reader = new SgxsReader()
  reader.update(stream)
  return toHex(reader.finish().mrEnclave)
}

test("what the builder emits, the reader measures; each changed byte is an error or another MrEnclave", () => {
  const stream = smallStream()
  const want = measure(stream)
  assert.equal(want, toHex(sha256(stream)))
  for (let at = 0; at < stream.length; at += 1) {
    const changed = Uint8Array.from(stream)
    changed[at] = (changed[at] ?? 0) ^ 0x10
    try {
      assert.notEqual(measure(changed), want, `byte ${at}`)
    } catch (error) {
      assert.ok(error instanceof CofferError && error.code === "integrity", String(error))
    }
  }
  const bounds = new Set<number>([64, 128, ...Array.from({ length: 16 }, (_, i) => 448 + 320 * i)])
  for (let size = 0; size < stream.length; size += 1) {
    const cut = stream.subarray(0, size)
    if (bounds.has(size)) assert.notEqual(measure(cut), want)
    else assert.throws(() => measure(cut), { code: "integrity" }, `cut at ${size}`)
  }
})

function record(tag: string, offset: number, data: number): Uint8Array {
  const out = Buffer.alloc(64 + data)
  out.write(tag, "latin1")
  out.writeBigUInt64LE(BigInt(offset), 8)
  return out
}

test("unmeasured chunks are not hashed; unsized, unknown, doubled and stray records are refused", () => {
  const stream = Buffer.from(smallStream())
  const want = measure(stream)
  assert.equal(measure(Buffer.concat([stream, record("UNMEASRD", 4096 + 256, 256)])), want)
  for (const bad of [
    record("UNMEASRD", 0, 256), // not the last page
    record("EADD", 4096, 0), // no page type, and twice
    record("EREMOVE", 0, 0),
    record("ECREATE", 0, 0),
    record("UNSIZED", 0, 0),
  ])
    assert.throws(() => measure(Buffer.concat([stream, bad])), { code: "integrity" })
  assert.throws(() => measure(record("UNSIZED", 1, 0)), /UNSIZED/)
  assert.throws(() => measure(stream.subarray(64)), /one ECREATE/)
})

test("other keys than RSA-3072 with exponent 3 are a configuration error", () => {
  assert.throws(() => readSigningKey("nothing", "KEY.pem"), { code: "config" })
})
