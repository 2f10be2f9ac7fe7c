import assert from "node:assert/strict"
import { constants, createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto"
import { test } from "node:test"
import fc from "fast-check"
import { refused } from "../../../test/support/refused.ts"
import { concatBytes } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { parsePcrFile } from "./pcr-file.ts"
import { parseTpmPublic } from "./public-area.ts"
import { algorithms, parseTpmQuote, parseTpmSignature } from "./structures.ts"
import { type TpmQuoteInput, verifyTpmQuote } from "./verify.ts"
import { emptyTpm2b, pcrSelections, tpm2b, u8, u16, u32 } from "./wire.ts"

/** Quotes of a TPM that is only written here: every scheme, and what a wrong one would sign. */

type Hash = "sha1" | "sha256" | "sha384"

interface Fake {
  readonly scheme?: "rsassa" | "rsapss" | "ecdsa"
  readonly hash?: Hash
  readonly keyHash?: Hash
  readonly attributes?: number
  readonly magic?: number
  readonly type?: number
  readonly nonce?: Uint8Array
  readonly trailing?: boolean
}

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey
const ec = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey
const nonce = new Uint8Array(32).fill(4)
const pcr = new Uint8Array(32).fill(0xaa)

function field(text: string | undefined): Uint8Array {
  return tpm2b(Buffer.from(text ?? "", "base64url"))
}

function publicArea(key: KeyObject, fake: Fake): Uint8Array {
  const { scheme = "rsassa", hash = "sha256", keyHash = hash } = fake
  const jwk = key.export({ format: "jwk" })
  const head = concatBytes(
    u16(scheme === "ecdsa" ? algorithms.ecc : algorithms.rsa),
    u16(algorithms.sha256),
    u32(fake.attributes ?? 0x50072),
    emptyTpm2b,
    u16(algorithms.null),
    u16(algorithms[scheme]),
    u16(algorithms[keyHash]),
  )
  return scheme === "ecdsa"
    ? concatBytes(head, u16(4), u16(algorithms.null), field(jwk.x), field(jwk.y))
    : concatBytes(head, u16(2048), u32(0), field(jwk.n))
}

function quoteBy(fake: Fake): TpmQuoteInput {
  const { scheme = "rsassa", hash = "sha256" } = fake
  const message = concatBytes(
    u32(fake.magic ?? 0xff544347),
    u16(fake.type ?? 0x8018),
    emptyTpm2b,
    tpm2b(fake.nonce ?? nonce),
    u32(0),
    u32(1),
    u32(2),
    u32(3),
    u8(1),
    u32(0),
    u32(9),
    pcrSelections([{ bank: "sha256", indices: [15] }]),
    tpm2b(createHash(hash).update(pcr).digest()),
    fake.trailing === true ? u8(0) : new Uint8Array(),
  )
  const key = scheme === "ecdsa" ? ec : rsa
  const padding =
    scheme === "rsapss" ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  const raw =
    scheme === "ecdsa"
      ? sign(hash, message, { key, dsaEncoding: "ieee-p1363" })
      : sign(hash, message, { key, padding })
  const parts = scheme === "ecdsa" ? [raw.subarray(0, 48), raw.subarray(48)] : [raw]
  return {
    message,
    signature: concatBytes(u16(algorithms[scheme]), u16(algorithms[hash]), ...parts.map(tpm2b)),
    ak: { kind: "tpmt", bytes: publicArea(key, fake) },
    pcrs: { "sha256:15": "aa".repeat(32) },
    nonce,
  }
}

test("RSASSA, RSAPSS and ECDSA, over SHA-256 and SHA-384", () => {
  for (const scheme of ["rsassa", "rsapss", "ecdsa"] as const)
    for (const hash of ["sha256", "sha384"] as const) {
      const claims = verifyTpmQuote(quoteBy({ scheme, hash }))
      assert.equal(claims.signatureHash, hash)
      assert.match(claims.akName, /^000b[0-9a-f]{64}$/)
      assert.deepEqual(claims.selection, ["sha256:15"])
    }
})

const cases: readonly (readonly [what: string, fake: Fake, reason: string])[] = [
  ["SHA-1", { hash: "sha1" }, "tpm-signature-hash"],
  ["another nonce", { nonce: new Uint8Array(32) }, "nonce"],
  ["data that no TPM made", { magic: 0 }, "tpm-quote-malformed"],
  ["a certification in place of a quote", { type: 0x8017 }, "tpm-quote-malformed"],
  ["more behind the quote", { trailing: true }, "tpm-quote-malformed"],
  ["a key that signs anything", { attributes: 0x40072 }, "ak-attributes"],
  ["a key that can leave its TPM", { attributes: 0x50070 }, "ak-attributes"],
  ["a key that was put into the TPM", { attributes: 0x50052 }, "ak-attributes"],
  ["a key for storage", { attributes: 0x70072 }, "ak-attributes"],
  ["another hash than the key's", { keyHash: "sha384" }, "ak-scheme"],
]

for (const [what, fake, reason] of cases)
  test(`${what}: ${reason}`, () => {
    assert.throws(() => verifyTpmQuote(quoteBy(fake)), refused(reason))
  })

test("PCR values: others, more, fewer, in upper case", () => {
  const good = quoteBy({})
  for (const [pcrs, reason] of [
    [{ "sha256:15": "00".repeat(32) }, "pcr-digest"],
    [{ ...good.pcrs, "sha256:16": "00".repeat(32) }, "pcr-selection"],
    [{}, "pcr-selection"],
    [{ "sha256:15": "AA".repeat(32) }, "pcr-selection"],
    [{ "sha256:15": "aa".repeat(20) }, "pcr-selection"],
  ] as const)
    assert.throws(() => verifyTpmQuote({ ...good, pcrs }), refused(reason))
})

test("a signature of one scheme under a key of another", () => {
  const { signature } = quoteBy({ scheme: "ecdsa" })
  assert.throws(() => verifyTpmQuote({ ...quoteBy({}), signature }), refused("tpm-signature"))
  const spki = { kind: "spki", bytes: new Uint8Array([0x30, 0]) } as const
  assert.throws(() => verifyTpmQuote({ ...quoteBy({}), ak: spki }), refused("ak-malformed"))
})

// No selection, one list of digests with none in it.
const emptyPcrFile = new Uint8Array(668)
emptyPcrFile[132] = 1

test("hostile bytes end in an error of ours", () => {
  const good = quoteBy({ scheme: "ecdsa" })
  const samples = [
    [good.message, parseTpmQuote],
    [good.signature, parseTpmSignature],
    [good.ak.bytes, parseTpmPublic],
    [emptyPcrFile, parsePcrFile],
  ] as const
  for (const [sample, parse] of samples) {
    const quiet = (bytes: Uint8Array) => {
      try {
        parse(bytes)
      } catch (error) {
        assert.ok(error instanceof CofferError && error.code === "integrity", String(error))
      }
    }
    for (let size = 0; size < sample.length; size += 1)
      assert.throws(() => parse(sample.subarray(0, size)), CofferError)
    for (let at = 0; at < sample.length; at += 1) {
      const changed = Uint8Array.from(sample)
      changed[at] = (changed[at] ?? 0) ^ 0xff
      quiet(changed)
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 700 }), quiet), { numRuns: 300 })
  }
})
