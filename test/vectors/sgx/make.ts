/**
 * Makes `vectors.json` beside this file: one vector, one failure, one named field. Deterministic; run it again and the
 * bytes are the same:  node test/vectors/sgx/make.ts
 * `test-key.pem` is a key that everybody has: never trust it.
 */
import { createHash } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { readSigningKey, signSigstruct } from "../../../src/sgx/index.ts"

const here = import.meta.dirname

// Built with nothing but Buffer, so that this program shares no code with what it tests.
function record(tag: string, words: readonly bigint[], data = Buffer.alloc(0)): Buffer {
  const out = Buffer.alloc(64)
  out.write(tag, "latin1")
  for (const [i, word] of words.entries()) out.writeBigUInt64LE(word, 8 + 8 * i)
  return Buffer.concat([out, data])
}

function create(ssaFrameSize: number, size: bigint): Buffer {
  const out = record("ECREATE", [])
  out.writeUInt32LE(ssaFrameSize, 8)
  out.writeBigUInt64LE(size, 12)
  return out
}

const chunk = (seed: number) =>
  Buffer.from(Array.from({ length: 256 }, (_, i) => (i * 7 + seed) % 256))
const add = (offset: bigint, flags = 0x201n) => record("EADD", [offset, flags])
const extend = (offset: bigint, seed = 1) => record("EEXTEND", [offset], chunk(seed))
const unmeasured = (offset: bigint) => record("UNMEASRD", [offset], chunk(9))
const begin = create(1, 0x4000n)

interface Vector {
  readonly name: string
  readonly kind: "sgxs" | "sigstruct"
  readonly hex: string
  /** MrEnclave, or the words that the error must have in it. */
  readonly mrEnclave?: string
  readonly error?: string
}

function good(name: string, measured: readonly Buffer[], all = measured): Vector {
  const hash = createHash("sha256")
  for (const part of measured) hash.update(part)
  return {
    name,
    kind: "sgxs",
    hex: Buffer.concat(all).toString("hex"),
    mrEnclave: hash.digest("hex"),
  }
}

function bad(name: string, error: string, ...parts: Buffer[]): Vector {
  return { name, kind: "sgxs", hex: Buffer.concat(parts).toString("hex"), error }
}

const withDirt = (bytes: Buffer, at: number): Buffer => {
  const out = Buffer.from(bytes)
  out[at] = 1
  return out
}

const streams: Vector[] = [
  good("one page, whole", [
    begin,
    add(0n),
    ...Array.from({ length: 16 }, (_, i) => extend(BigInt(i * 256), i)),
  ]),
  good("a page of which one chunk is measured", [begin, add(0x1000n), extend(0x1300n)]),
  good("pages not in the order of their addresses", [
    begin,
    add(0x2000n),
    extend(0x2000n),
    add(0n, 0x203n),
  ]),
  good("a TCS", [begin, add(0n, 0x100n), extend(0n)]),
  good(
    "an unmeasured chunk is not hashed",
    [begin, add(0n), extend(0n)],
    [begin, add(0n), extend(0n), unmeasured(0x100n)],
  ),
  bad("nothing at all", "first record"),
  bad("EADD first", "one ECREATE", add(0n)),
  bad("ECREATE twice", "one ECREATE", begin, begin),
  bad("unsized", "UNSIZED", record("UNSIZED", [1n])),
  bad("unknown record", "record: wanted", begin, record("EREMOVE", [])),
  bad("SECS.SIZE is no power of two", "SECS.SIZE", create(1, 0x3000n)),
  bad("SSAFRAMESIZE 0", "SSAFRAMESIZE", create(0, 0x4000n)),
  bad("ECREATE with bytes after its fields", "rest of ECREATE", withDirt(begin, 63)),
  bad("EADD outside the enclave", "EADD offset", begin, add(0x4000n)),
  bad("EADD off the page", "EADD offset", begin, add(0x800n)),
  bad("a page twice", "each page once", begin, add(0n), add(0n)),
  bad("no page type", "SECINFO.FLAGS", begin, add(0n, 0x7n)),
  bad("reserved flags", "SECINFO.FLAGS", begin, add(0n, 0x1201n)),
  bad("SECINFO with reserved bytes", "rest of SECINFO", begin, withDirt(add(0n), 40)),
  bad("a chunk without its page", "chunk offset", begin, extend(0n)),
  bad("a chunk of an earlier page", "chunk offset", begin, add(0n), add(0x1000n), extend(0n)),
  bad("a chunk off its place", "chunk offset", begin, add(0n), extend(0x80n)),
  bad("a chunk twice", "ascending", begin, add(0n), extend(0n), extend(0n)),
  bad(
    "a chunk's record with reserved bytes",
    "rest of the record",
    begin,
    add(0n),
    withDirt(extend(0n), 20),
  ),
  bad("cut in a record", "whole records", begin, add(0n).subarray(0, 63)),
]

const key = readSigningKey(readFileSync(join(here, "test-key.pem"), "utf8"), "test-key.pem")
const valid = Buffer.from(
  signSigstruct(
    {
      mrEnclave: createHash("sha256").update("coffer test vector").digest(),
      date: "20260102",
      isvProdId: 7,
      isvSvn: 3,
      vendor: 0,
      swDefined: 0,
      miscSelect: 0,
      miscMask: 0xffff_ffff,
      cetAttributes: 0,
      cetAttributesMask: 0xff,
      attributes: Buffer.from("04000000000000000300000000000000", "hex"),
      attributeMask: Buffer.alloc(16, 0xff),
      isvFamilyId: Buffer.alloc(16, 1),
      isvExtProdId: Buffer.alloc(16, 2),
    },
    key,
  ),
)

function changed(name: string, error: string, at: number): Vector {
  const out = Buffer.from(valid)
  out[at] = (out[at] ?? 0) ^ 1
  return { name, kind: "sigstruct", hex: out.toString("hex"), error }
}

const sigstructs: Vector[] = [
  {
    name: "valid",
    kind: "sigstruct",
    hex: valid.toString("hex"),
    mrEnclave: valid.toString("hex", 960, 992),
  },
  changed("header", "header:", 0),
  changed("vendor", "vendor:", 16),
  changed("header2", "header2:", 24),
  changed("reserved bytes", "reserved1:", 44),
  changed("exponent", "exponent:", 512),
  changed("even modulus", "modulus:", 128),
  changed("another modulus", "signature:", 130),
  changed("signature", "signature:", 516),
  changed("signed date", "signature:", 20),
  changed("signed MrEnclave", "signature:", 960),
  changed("signed SVN", "signature:", 1026),
  changed("q1", "q1:", 1040),
  changed("q2", "q2:", 1424),
  { name: "cut", kind: "sigstruct", hex: valid.subarray(0, 1807).toString("hex"), error: "size:" },
]

writeFileSync(
  join(here, "vectors.json"),
  `${JSON.stringify([...streams, ...sigstructs], null, 2)}\n`,
)
