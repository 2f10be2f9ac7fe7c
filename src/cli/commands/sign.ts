import { Command } from "commander"
import { toHex } from "../../bytes/index.ts"
import { signImage } from "../../protect/index.ts"
import { type SignInput, signSealed } from "../../seal/index.ts"
import { describeFields, readSigningKey, type SigstructClaims } from "../../sgx/index.ts"
import { dateOfEpoch } from "../epoch.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { progressBar } from "../progress.ts"
import { readText } from "../read-text.ts"
import { binaryOrImage, subjectOf } from "../sealed-file.ts"

interface Options {
  readonly key: string
  readonly isvProdId: number
  readonly isvSvn: number
  readonly date?: string
  readonly json?: true
}

/** `coffer sign BINARY`: SIGSTRUCT over MrEnclave, into the binary. */
export function signCommand(io: Io): Command {
  return new Command("sign")
    .description("sign a sealed binary: MrEnclave, product id and SVN")
    .argument("<binary>", `${binaryOrImage}; a signature that it has is replaced`)
    .requiredOption("--key <file>", "RSA-3072 key with exponent 3, in PEM")
    .option("--isv-prod-id <n>", "product id, 0 to 65535", wholeNumber(0, 65_535), 0)
    .option("--isv-svn <n>", "security version, 0 to 65535", wholeNumber(0, 65_535), 0)
    .option("--date <yyyymmdd>", "date in the signature")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
The same binary, key and options give the same bytes. The date is the one of --date, else of SOURCE_DATE_EPOCH (UTC),
else 19700101: never the clock.

An image gets the signed binary in the place of the other, under the name that it has.

Examples:
  coffer sign shop.sealed --key publisher.pem --isv-prod-id 7 --isv-svn 2
  coffer sign oci:shop:1 --key publisher.pem`,
    )
    .action(async (binary: string, options: Options) => {
      const key = readSigningKey(readText(options.key), options.key)
      const date = options.date ?? dateOfEpoch(io.env["SOURCE_DATE_EPOCH"])
      const { isvProdId, isvSvn } = options
      const claims = await signSubject(binary, { key, isvProdId, isvSvn, date }, io)
      // An archive on standard output must stay alone there.
      const say = (line: string) => (binary === "docker-archive:-" ? io.warn(line) : io.print(line))
      if (options.json === true) say(JSON.stringify(describeFields(claims)))
      else {
        say(`MrEnclave  ${toHex(claims.mrEnclave)}`)
        say(`MrSigner   ${toHex(claims.mrSigner)}`)
        say(`product ${isvProdId}, SVN ${isvSvn}, date ${date}`)
      }
    })
}

async function signSubject(text: string, sign: SignInput, io: Io): Promise<SigstructClaims> {
  const subject = subjectOf(text)
  if (subject.kind === "file") return signSealed(subject.path, sign)
  const bar = progressBar(io, "signing")
  try {
    return await signImage({
      reference: subject.reference,
      sign,
      input: process.stdin,
      output: (bytes) => io.write(bytes),
      onProgress: bar.update,
    })
  } finally {
    bar.end()
  }
}
