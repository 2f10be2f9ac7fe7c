import assert from "node:assert/strict"
import { utf8OfByteString } from "../../src/bytes/index.ts"
import { readElf } from "../../src/elf/index.ts"
import { CofferError } from "../../src/errors.ts"
import {
  checkProof,
  looksSealed,
  measurePages,
  measureSdkEnclave,
  openTree,
  provePath,
  readSealed,
  sourceOfBytes,
} from "../../src/seal/index.ts"
import { SgxsReader, verifySigstruct } from "../../src/sgx/index.ts"
import { walk } from "../../src/tree/index.ts"
import { Random } from "./random.ts"
import { sdkEnclave, sdkMrEnclave } from "./sdk-enclave.ts"
import { makeSealed } from "./sealed.ts"

const numbers: readonly [number, ...number[]] = [
  0, 1, 0x7f, 0x80, 0xff, 0x1000, 0xffff, 0x7fffffff, 0xffffffff,
]

/** One to four changes: bytes, numbers of 2 to 8 bytes, runs of zeros, copies, cuts. */
function mutated(seed: Uint8Array, random: Random, hot: readonly [number, number]): Uint8Array {
  const out = Buffer.from(seed)
  const [from, to] = random.below(4) === 0 ? [0, out.length] : hot
  for (let change = 0; change <= random.below(4); change += 1) {
    const at = from + random.below(Math.max(1, Math.min(to, out.length) - from - 8))
    switch (random.below(6)) {
      case 0:
        out.writeUInt16LE(random.pick(numbers) % 0x10000, at)
        break
      case 1:
        out.writeUInt32LE(random.pick(numbers), at)
        break
      case 2:
        out.writeBigUInt64LE(BigInt(random.pick(numbers)) << BigInt(random.below(32)), at)
        break
      case 3:
        out.fill(0, at, Math.min(out.length, at + random.below(256)))
        break
      case 4:
        out.copyWithin(at, random.below(out.length), random.below(out.length))
        break
      default:
        out[at] = (out[at] ?? 0) ^ (1 + random.below(255))
    }
  }
  return random.below(10) === 0 ? out.subarray(0, random.below(out.length)) : out
}

/** Our own error, or an answer. Anything else is a fault of ours. */
function attempt(action: () => void): boolean {
  try {
    action()
    return true
  } catch (error) {
    if (!(error instanceof CofferError)) throw error
    assert.equal(error.code, "integrity", error.message)
    return false
  }
}

interface ElfSeeds {
  readonly sealed: Uint8Array
  readonly sdk: Uint8Array
  readonly stream: Uint8Array
  readonly proof: string
}

/** Uses the file at `path` for a moment. */
function makeSeeds(path: string): ElfSeeds {
  const sealed = makeSealed(path)
  const source = sourceOfBytes(sealed)
  const { stub, manifestPages } = readSealed(source)
  const parts: Uint8Array[] = []
  measurePages(stub, manifestPages, (bytes) => parts.push(Uint8Array.from(bytes)))
  return {
    sealed,
    sdk: sdkEnclave(sdkMrEnclave()),
    stream: Buffer.concat(parts),
    proof: JSON.stringify(provePath(source, utf8OfByteString("/bin/hello"))),
  }
}

/** Runs each reader on mutations of its seed; returns how many of `count` were refused. */
export function fuzzElf(path: string, count: number, seed: number): number {
  const seeds = makeSeeds(path)
  const random = new Random(seed)
  let refused = 0
  for (let i = 0; i < count; i += 1) if (!attempt(() => oneCase(seeds, i % 6, random))) refused += 1
  return refused
}

function oneCase(seeds: ElfSeeds, kind: number, random: Random): void {
  const { sealed, sdk, stream, proof } = seeds
  if (kind === 0 || kind === 1) {
    const bytes = mutated(sealed, random, kind === 0 ? [0, 0x1000] : [0x3000, 0x5000])
    looksSealed(bytes)
    const source = sourceOfBytes(bytes)
    const { manifest } = readSealed(source)
    for (const { node } of walk(openTree(source, manifest))) assert.ok(node.meta.mode <= 0o7777)
  } else if (kind === 2) {
    readElf(mutated(sealed, random, [0, 0x300]))
  } else if (kind === 3) {
    const bytes = mutated(sdk, random, random.below(2) === 0 ? [0, 0x80] : [0x2100, sdk.length])
    measureSdkEnclave(bytes)
  } else if (kind === 4) {
    const reader = new SgxsReader()
    reader.update(mutated(stream, random, [0, 200]))
    reader.finish()
    verifySigstruct(mutated(sealed.subarray(0x3000, 0x3000 + 1808), random, [0, 1808]))
  } else {
    const text = Buffer.from(mutated(Buffer.from(proof), random, [0, 1500]))
    checkProof(text.toString("latin1"))
  }
}
