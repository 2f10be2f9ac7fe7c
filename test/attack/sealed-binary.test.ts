import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { toHex, utf8OfByteString } from "../../src/bytes/index.ts"
import { CofferError, exitCodeOf } from "../../src/errors.ts"
import {
  checkProof,
  measurePages,
  openImage,
  provePath,
  readSealed,
  signSealed,
  sourceOfBytes,
} from "../../src/seal/index.ts"
import { readSigningKey, signSigstruct } from "../../src/sgx/index.ts"
import type { ByteSource } from "../../src/verity/index.ts"
import { directory, file, makeSealed, smallTree, testDraft } from "../support/sealed.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-attack-"))
after(() => rmSync(folder, { recursive: true, force: true }))

const bytes = makeSealed(join(folder, "sealed"))
const binary = readSealed(sourceOfBytes(bytes))
const { manifest, mrEnclave } = binary
const want = toHex(mrEnclave)

/** Reads all there is to read: the head, then every block through the hash tree. Returns MrEnclave. */
function readWhole(source: ByteSource): string {
  const found = readSealed(source)
  openImage(source, found.manifest).readAll(() => undefined)
  return toHex(found.mrEnclave)
}

function flipped(at: number): Uint8Array {
  const changed = Uint8Array.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
  return changed
}

test("the binary under attack is sound, and has all parts", () => {
  assert.equal(readWhole(sourceOfBytes(bytes)), want)
  assert.ok(manifest.verity.size > 0)
  assert.equal(bytes.length, manifest.verity.offset + manifest.verity.size)
})

function isIntegrity(error: unknown): boolean {
  return exitCodeOf(error) === 3
}

test("every byte flipped in turn: each is an integrity error", () => {
  for (let at = 0; at < manifest.binfs.offset; at += 1)
    assert.throws(() => readSealed(sourceOfBytes(flipped(at))), isIntegrity, `byte ${at}`)
  for (let at = manifest.binfs.offset; at < bytes.length; at += 1) {
    const source = sourceOfBytes(flipped(at))
    const image = openImage(source, manifest)
    assert.throws(() => image.readAll(() => undefined), isIntegrity, `byte ${at}`)
    // The head does not depend on it; a sample shows that.
    if (at % 500 === 0) assert.equal(toHex(readSealed(source).mrEnclave), want)
  }
})

test("every flip in a measured page changes MrEnclave, whatever a reader would say to it", () => {
  for (const begin of [0x1000, 0x4000])
    for (let at = begin; at < begin + 0x1000; at += 1) {
      const changed = flipped(at)
      const stub = changed.subarray(0x1000, 0x2000)
      const pages = changed.subarray(0x4000, manifest.binfs.offset)
      assert.notEqual(toHex(measurePages(stub, pages)), want, `byte ${at}`)
    }
})

test("truncated at every length, or with anything appended: an integrity error", () => {
  for (let size = 0; size < bytes.length; size += 1)
    assert.throws(
      () => readSealed(sourceOfBytes(bytes.subarray(0, size))),
      { code: "integrity" },
      `length ${size}`,
    )
  for (const more of [1, 4095, 4096, 100_000]) {
    const longer = Buffer.concat([bytes, Buffer.alloc(more)])
    assert.throws(() => readSealed(sourceOfBytes(longer)), { code: "integrity" })
  }
})

/** The disk that tells the truth once, and then another thing. */
class TwoFaced implements ByteSource {
  readonly size = bytes.length
  readonly #seen = new Set<number>()

  read(target: Uint8Array, position: number): void {
    target.set(bytes.subarray(position, position + target.length))
    for (let at = 0; at < target.length; at += 1) {
      if (this.#seen.has(position + at)) target[at] = (target[at] ?? 0) ^ 1
      this.#seen.add(position + at)
    }
  }
}

test("a disk that answers the second read differently has no effect, or is an integrity error", () => {
  const source = new TwoFaced()
  const twice = readSealed(source)
  assert.equal(toHex(twice.mrEnclave), want)
  const block = new Uint8Array(4096)
  const truth = Buffer.from(bytes.subarray(manifest.binfs.offset, manifest.binfs.offset + 4096))
  let refusals = 0
  for (let time = 0; time < 3; time += 1)
    try {
      openImage(source, twice.manifest).read(block, 0)
      assert.deepEqual(Buffer.from(block), truth)
    } catch (error) {
      assert.ok(isIntegrity(error), String(error))
      refusals += 1
    }
  assert.ok(refusals > 0)
})

test("parts of another sealed binary do not fit, each of them", () => {
  const draft = { ...testDraft, name: "also" }
  const tree = directory({
    ...Object.fromEntries(smallTree.children),
    bin: directory({ hello: file("#!/bin/sh\necho HELLO\n"), other: file("other") }),
  })
  const other = makeSealed(join(folder, "other"), { draft, tree })
  assert.equal(other.length, bytes.length)
  const parts: readonly (readonly [string, number, number])[] = [
    ["note", 0x2000, 0x3000],
    ["signature", 0x3000, 0x4000],
    ["manifest", 0x4000, manifest.binfs.offset],
    ["image", manifest.binfs.offset, manifest.verity.offset],
    ["hash tree", manifest.verity.offset, bytes.length],
    ["image and hash tree", manifest.binfs.offset, bytes.length],
    ["manifest, image and hash tree", 0x4000, bytes.length],
  ]
  for (const [name, from, to] of parts) {
    const mixed = Uint8Array.from(bytes)
    mixed.set(other.subarray(from, to), from)
    assert.throws(() => readWhole(sourceOfBytes(mixed)), { code: "integrity" }, name)
  }
})

test("blocks that change their places are an integrity error", () => {
  const count = manifest.binfs.size / 4096
  for (let a = 0; a < count; a += 1)
    for (let b = a + 1; b < count; b += 1) {
      const changed = Uint8Array.from(bytes)
      const [from, to] = [manifest.binfs.offset + a * 4096, manifest.binfs.offset + b * 4096]
      if (Buffer.compare(bytes.subarray(from, from + 4096), bytes.subarray(to, to + 4096)) === 0)
        continue
      changed.set(bytes.subarray(from, from + 4096), to)
      changed.set(bytes.subarray(to, to + 4096), from)
      assert.throws(() => readWhole(sourceOfBytes(changed)), { code: "integrity" })
    }
})

test("taking the signature away is seen as an unsigned binary with the same MrEnclave", () => {
  const unsigned = makeSealed(join(folder, "unsigned"), { sign: false })
  const found = readSealed(sourceOfBytes(unsigned))
  assert.equal(toHex(found.mrEnclave), want)
  assert.equal(found.signature, undefined)
  // Only the whole head of an unsigned binary will do: zeros in the signature's place alone are not it.
  const half = Uint8Array.from(bytes)
  half.fill(0, 0x3000, 0x4000)
  assert.throws(() => readSealed(sourceOfBytes(half)), { code: "integrity" })
})

test("a proof: every character changed in turn gives an integrity error or the same answer", () => {
  const text = JSON.stringify(provePath(sourceOfBytes(bytes), utf8OfByteString("/bin/hello")))
  const good = checkProof(text)
  assert.equal(good.mrEnclave, want)
  assert.equal(good.found.size, 21)
  // Characters of the blocks are many and alike: one of 17 of them, and every one of the rest.
  const blocksAt = text.indexOf('"blocks"')
  for (let at = 0; at < text.length; at += at < blocksAt ? 1 : 17) {
    const char = text[at] === "A" ? "B" : "A"
    const changed = `${text.slice(0, at)}${char}${text.slice(at + 1)}`
    try {
      assert.deepEqual(checkProof(changed), good, `character ${at}`)
    } catch (error) {
      if (!(error instanceof CofferError)) throw error
      assert.equal(error.code, "integrity", `character ${at}: ${error.message}`)
    }
  }
  for (let size = 0; size < text.length; size += 97)
    assert.throws(() => checkProof(text.slice(0, size)), { code: "integrity" })
})

test("a proof without one of its blocks, or for another path, is an integrity error", () => {
  const proof = provePath(sourceOfBytes(bytes), utf8OfByteString("/etc/big"))
  assert.ok(proof.blocks.length >= 3)
  for (const missing of proof.blocks) {
    const blocks = proof.blocks.filter((block) => block !== missing)
    assert.throws(() => checkProof(JSON.stringify({ ...proof, blocks })), { code: "integrity" })
  }
  for (const path of [
    "",
    "etc/big",
    "//etc/big",
    "/etc//big",
    "/etc/big/",
    "/etc/b\\x69g",
    "/etc",
    "/etc/none",
    "/bin/hello",
    "etc/big",
    "/etc/big/x",
  ])
    assert.throws(() => checkProof(JSON.stringify({ ...proof, path })), { code: "integrity" }, path)
  const claims = { ...proof, found: { ...proof.found, mode: "0777" } }
  assert.throws(() => checkProof(JSON.stringify(claims)), { code: "integrity" })
  const other = { ...proof, mrEnclave: "00".repeat(32) }
  assert.throws(() => checkProof(JSON.stringify(other)), { code: "integrity" })
  writeFileSync(join(folder, "proof.json"), JSON.stringify(proof))
  assert.deepEqual(checkProof(readFileSync(join(folder, "proof.json"), "utf8")).found, proof.found)
})

const published = "../shared/vectors/sgx-sigstruct/sig1.key.pem"
const skip = existsSync(published) ? false : "third-party vectors are not here"

test("a signature by the published sample key is refused, however genuine", { skip }, () => {
  const key = readSigningKey(readFileSync(published, "utf8"), "sig1.key.pem")
  assert.ok(binary.signature !== undefined)
  const sigstruct = signSigstruct(binary.signature, key, { insecureAllowSampleKey: true })
  const changed = Uint8Array.from(bytes)
  changed.set(sigstruct, 0x3000)
  assert.throws(() => readSealed(sourceOfBytes(changed)), { code: "refused" })
  const path = join(folder, "sample")
  writeFileSync(path, bytes)
  assert.throws(() => signSealed(path, { key, isvProdId: 0, isvSvn: 0, date: "20260101" }), {
    code: "refused",
  })
})
