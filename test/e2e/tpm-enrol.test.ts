/** A machine that nobody has seen is enrolled by its TPM's maker: endorsement certificate, challenge, answer. */
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { attestationKeyName } from "../../src/attest/index.ts"
import { coffer } from "../support/cli.ts"
import { noSwtpmSetup, SoftwareTpm } from "../support/swtpm.ts"

const skip = noSwtpmSetup
const folder = mkdtempSync(join(tmpdir(), "coffer-enrol-"))
const at = (name: string) => join(folder, name)

interface Machine {
  readonly tpm: SoftwareTpm
  readonly name: string
  readonly maker: { readonly root: string; readonly authority: string }
}

const machines: Machine[] = []

async function machine(name: string): Promise<Machine> {
  const tpm = new SoftwareTpm()
  const maker = tpm.manufacture()
  await tpm.start()
  const made = { tpm, name, maker }
  machines.push(made)
  const files = ["--out", at(`${name}.ak`), "--ek", at(`${name}.pem`)]
  const { code, err } = await coffer("attest", "ak", "--tpm", tpm.address, ...files)
  assert.equal(code, 0, err)
  return made
}

let box: Machine
let other: Machine

before(async () => {
  if (skip !== false) return
  box = await machine("box")
  other = await machine("other")
})

after(async () => {
  for (const { tpm } of machines) await tpm.stop()
  rmSync(folder, { recursive: true, force: true })
})

const roots = ({ maker }: Machine) => ["--ek-root", maker.root, "--ek-root", maker.authority]

function challenge(to: string, ...options: readonly string[]) {
  return coffer("attest", "challenge", at(to), ...options)
}

const of = (name: string) => ["--ak", at(`${name}.ak`), "--ek", at(`${name}.pem`)]

test("challenge, answer, name", { skip }, async () => {
  const made = await challenge("right", ...of("box"), ...roots(box))
  assert.equal(made.code, 0, made.err)
  const answer = await coffer("attest", "activate", at("right.challenge"), "--tpm", box.tpm.address)
  assert.equal(answer.code, 0, answer.err)
  const enrolled = await coffer("attest", "enrol", at("right.expected"), answer.out[0] ?? "")
  assert.deepEqual(
    [enrolled.code, enrolled.out],
    [0, [attestationKeyName(readFileSync(at("box.ak")))]],
  )
  // Another TPM cannot answer; a guess and another challenge's answer are none.
  const stolen = await coffer(
    "attest",
    "activate",
    at("right.challenge"),
    "--tpm",
    other.tpm.address,
  )
  assert.equal(stolen.code, 5)
  assert.match(stolen.err, /credential: wanted one for this TPM, found another's/)
  const guessed = await coffer("attest", "enrol", at("right.expected"), "00".repeat(32))
  assert.equal(guessed.code, 5)
  assert.match(guessed.err, /answer: wanted the challenge's secret/)
})

test("an attestation key of another TPM than the endorsement key's is never activated", {
  skip,
}, async () => {
  const mixed = await challenge(
    "mixed",
    "--ak",
    at("other.ak"),
    "--ek",
    at("box.pem"),
    ...roots(box),
  )
  assert.equal(mixed.code, 0, "the chain is right; whether the key is in that TPM only it can tell")
  for (const { tpm } of [box, other]) {
    const answer = await coffer("attest", "activate", at("mixed.challenge"), "--tpm", tpm.address)
    assert.equal(answer.code, 5, answer.out.join())
  }
})

test("the maker's chain: another root, no authority, out of time, not an endorsement key's", {
  skip,
}, async () => {
  const refusals: readonly (readonly [RegExp, readonly string[]])[] = [
    [/ek chain: /, [...of("box"), ...roots(other)]],
    [/ek chain: wanted /, [...of("box"), "--ek-root", box.maker.root]],
    [/ek chain: .*wanted a time from/, [...of("box"), ...roots(box), "--now", "1000000000"]],
    [
      /wanted a certificate of an endorsement key/,
      ["--ak", at("box.ak"), "--ek", box.maker.authority, ...roots(box)],
    ],
  ]
  for (const [i, [message, options]] of refusals.entries()) {
    const { code, err } = await challenge(`no-${i}`, ...options)
    assert.equal(code, 5, err)
    assert.match(err, message)
  }
})

function flip(hex: string, byte: number): string {
  const bytes = Buffer.from(hex, "hex")
  bytes[byte] = (bytes[byte] ?? 0) ^ 1
  return bytes.toString("hex")
}

test("every byte of the challenge counts", { skip }, async () => {
  const made = await challenge("flip", ...of("box"), ...roots(box))
  assert.equal(made.code, 0, made.err)
  const { idObject, secret } = JSON.parse(readFileSync(at("flip.challenge"), "utf8")) as {
    readonly idObject: string
    readonly secret: string
  }
  for (const [which, byte] of [
    ["idObject", 5],
    ["idObject", 40],
    ["idObject", idObject.length / 2 - 1],
    ["secret", 2],
    ["secret", secret.length / 2 - 1],
  ] as const) {
    const changed = {
      version: 1,
      idObject,
      secret,
      [which]: flip({ idObject, secret }[which], byte),
    }
    writeFileSync(at("changed"), JSON.stringify(changed))
    const { code } = await coffer("attest", "activate", at("changed"), "--tpm", box.tpm.address)
    assert.equal(code, 5, `${which} ${byte}`)
  }
})
