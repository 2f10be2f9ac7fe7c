import { readFileSync, writeFileSync } from "node:fs"
import { Command } from "commander"
import { z } from "zod"
import {
  activateCredential,
  challengeEndorsement,
  loadCollateral,
  Tpm,
} from "../../attest/index.ts"
import { equalBytes, fromHex, toHex } from "../../bytes/index.ts"
import { randomBytes, sha256 } from "../../crypto/index.ts"
import { parsePem } from "../../der/index.ts"
import { CofferError, fromSystem } from "../../errors.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"

/** Commands with which a machine far away is enrolled: nobody has to trust it, only the maker of its TPM. */
export function enrolCommands(io: Io): readonly Command[] {
  return [challengeCommand(io), activateCommand(io), enrolCommand(io)]
}

const how = `
To enrol a machine that is far away (on a machine that you trust, \`coffer attest ak\` alone will do):
  there:  coffer attest ak --out ak.pub --ek ek.pem       and send both files
  here:   coffer attest challenge box --ak ak.pub --ek ek.pem --ek-root maker.pem
  there:  coffer attest activate box.challenge            prints an answer
  here:   coffer attest enrol box.expected ANSWER         prints the name for the policy's attestationKeys`

interface ChallengeOptions {
  readonly ak: string
  readonly ek: string
  readonly ekRoot: readonly string[]
  readonly now?: number
}

const hexText = z.string().regex(/^(?:[0-9a-f]{2})+$/)

const challengeSchema = z.strictObject({
  version: z.literal(1),
  idObject: hexText,
  secret: hexText,
})

const expectedSchema = z.strictObject({ version: z.literal(1), name: hexText, answer: hexText })

function challengeCommand(io: Io): Command {
  return new Command("challenge")
    .description("make a challenge that only one TPM can answer, after verifying its maker's chain")
    .argument("<name>", "for the files NAME.challenge, to send, and NAME.expected, to keep")
    .requiredOption("--ak <file>", "the machine's attestation key, of `coffer attest ak --out`")
    .requiredOption("--ek <file>", "its endorsement certificate, of `coffer attest ak --ek`")
    .requiredOption(
      "--ek-root <file>",
      "root certificate of its TPM's maker, and authorities under it; may be repeated",
      (path: string, all: readonly string[] | undefined) => [...(all ?? []), path],
    )
    .option(
      "--now <unix>",
      "time of the verification in unix seconds (default: now)",
      wholeNumber(0, 999_999_999_999),
    )
    .addHelpText("after", how)
    .action((name: string, options: ChallengeOptions) => {
      const { certificates } = loadCollateral(options.ekRoot)
      const roots = certificates.filter((item) => equalBytes(item.issuer.raw, item.subject.raw))
      if (roots.length === 0)
        throw new CofferError("config", "--ek-root: wanted a root certificate, found none")
      const value = randomBytes(32)
      const challenge = challengeEndorsement({
        ak: read(options.ak),
        certificate: certificateOf(read(options.ek), options.ek),
        authorities: certificates,
        roots: roots.map((item) => item.publicKey),
        now: options.now ?? Math.floor(Date.now() / 1000),
        value,
      })
      const { idObject, secret } = challenge.credential
      const sent = { version: 1, idObject: toHex(idObject), secret: toHex(secret) }
      write(`${name}.expected`, {
        version: 1,
        name: challenge.name,
        answer: toHex(sha256(value)),
      })
      write(`${name}.challenge`, sent)
      io.print(`${name}.challenge`)
      io.warn(`Send it to the machine (coffer attest activate), and keep ${name}.expected here.`)
    })
}

function activateCommand(io: Io): Command {
  return new Command("activate")
    .description("answer a challenge with this machine's TPM")
    .argument("<challenge>", "the file NAME.challenge")
    .option("--tpm <address>", "/dev/…, unix:PATH or HOST:PORT of a software TPM", "/dev/tpmrm0")
    .addHelpText("after", how)
    .action(async (path: string, options: { readonly tpm: string }) => {
      const { idObject, secret } = parse(challengeSchema, path)
      const tpm = await Tpm.open(options.tpm)
      try {
        const credential = { idObject: bytes(idObject), secret: bytes(secret) }
        io.print(toHex(await activateCredential(tpm, credential)))
      } finally {
        await tpm.close()
      }
    })
}

function enrolCommand(io: Io): Command {
  return new Command("enrol")
    .description("check the answer to a challenge, and print the key's name for a policy")
    .argument("<expected>", "the file NAME.expected")
    .argument("<answer>", "what `coffer attest activate` printed there")
    .addHelpText("after", how)
    .action((path: string, answer: string) => {
      const expected = parse(expectedSchema, path)
      const given = fromHex(answer) ?? new Uint8Array()
      if (toHex(sha256(given)) !== expected.answer)
        throw new CofferError(
          "refused",
          "answer: wanted the challenge's secret, found something else",
          {
            reason: "credential",
            hint: "the answer is of another challenge, or of a machine that does not have this TPM",
          },
        )
      io.print(expected.name)
    })
}

function bytes(hex: string): Uint8Array {
  const value = fromHex(hex)
  if (value === undefined) throw new TypeError("the schema lets only hex pass")
  return value
}

const maxSize = 65_536

function read(path: string): Uint8Array {
  try {
    const all = readFileSync(path)
    if (all.length <= maxSize) return all
    throw new CofferError("config", `${path}: wanted at most ${maxSize} bytes, found ${all.length}`)
  } catch (error) {
    throw fromSystem(error, path)
  }
}

function certificateOf(file: Uint8Array, path: string): Uint8Array {
  const text = Buffer.from(file).toString("latin1")
  if (!text.includes("-----BEGIN")) return file
  const [block] = parsePem(text)
  if (block?.label === "CERTIFICATE") return block.bytes
  throw new CofferError("config", `${path}: wanted a certificate, found ${block?.label ?? "none"}`)
}

function parse<Schema extends z.ZodType>(schema: Schema, path: string): z.output<Schema> {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(read(path)).toString("utf8"))
  } catch (error) {
    if (error instanceof CofferError) throw error
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new CofferError("config", `${path}: wanted a file of \`coffer attest challenge\``)
}

function write(path: string, value: unknown): void {
  try {
    writeFileSync(path, `${JSON.stringify(value)}\n`, { flag: "wx", mode: 0o600 })
  } catch (error) {
    throw fromSystem(error, path)
  }
}
