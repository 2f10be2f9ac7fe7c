import { generateKeyPairSync } from "node:crypto"
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs"
import { Command } from "commander"
import { toHex } from "../../bytes/index.ts"
import { randomBytes } from "../../crypto/index.ts"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import { mrSignerOf, readSigningKey } from "../../sgx/index.ts"
import type { Io } from "../io.ts"

interface Options {
  readonly sign?: string
  readonly volume?: string
  readonly access?: string
  readonly json?: true
}

/** `coffer keygen`: keys that people keep, each in a new file of mode 0600. */
export function keygenCommand(io: Io): Command {
  return new Command("keygen")
    .description("make keys: for signing binaries, for volumes, for policies")
    .option("--sign <file>", "RSA-3072 key (exponent 3) in PEM, for coffer sign")
    .option("--volume <file>", "32 random bytes, for coffer volume --key-file")
    .option("--access <file>", "Ed25519 key in PEM, for the access section of a policy")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nA file that is there already is never overwritten.\n\nExample:\n  coffer keygen --sign publisher.pem --volume data.key",
    )
    .action((options: Options) => {
      const made = [
        ...(options.sign === undefined ? [] : [signingKey(options.sign)]),
        ...(options.volume === undefined ? [] : [volumeKey(options.volume)]),
        ...(options.access === undefined ? [] : [accessKey(options.access)]),
      ]
      if (made.length === 0)
        throw new CofferError("usage", "wanted --sign, --volume or --access, found none of them")
      if (options.json === true) io.print(JSON.stringify({ keys: made }))
      else
        for (const { kind, file, id, idName } of made)
          io.print(`${file}: ${kind} key${id === undefined ? "" : `, ${idName ?? ""} ${id}`}`)
    })
}

interface MadeKey {
  readonly kind: "signing" | "volume" | "access"
  readonly file: string
  /** What is public about it. */
  readonly id?: string
  readonly idName?: string
}

function signingKey(file: string): MadeKey {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 3072, publicExponent: 3 })
  const pem = privateKey.export({ type: "pkcs8", format: "pem" })
  writeSecret(file, Buffer.from(pem))
  const { modulus } = readSigningKey(pem, file)
  return { kind: "signing", file, idName: "MrSigner", id: toHex(mrSignerOf(modulus)) }
}

function volumeKey(file: string): MadeKey {
  writeSecret(file, randomBytes(32))
  return { kind: "volume", file }
}

function accessKey(file: string): MadeKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  writeSecret(file, Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })))
  const { x = "" } = publicKey.export({ format: "jwk" })
  const id = toHex(Buffer.from(x, "base64url"))
  return { kind: "access", file, idName: "public key", id }
}

function writeSecret(file: string, bytes: Uint8Array): void {
  let fd: number
  try {
    fd = openSync(file, "wx", 0o600)
  } catch (error) {
    if (isErrno(error, "EEXIST"))
      throw new CofferError("config", `${file}: wanted a new file, found one that is there`, {
        hint: "a key that is overwritten is lost: choose another name, or move it away",
      })
    throw fromSystem(error, `write ${file}`)
  }
  try {
    writeSync(fd, bytes)
    fsyncSync(fd)
  } catch (error) {
    throw fromSystem(error, `write ${file}`)
  } finally {
    closeSync(fd)
  }
}
