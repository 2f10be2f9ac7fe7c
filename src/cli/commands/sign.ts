import { Command } from "commander"
import { toHex } from "../../bytes/index.ts"
import { signSealed } from "../../seal/index.ts"
import { describeFields, readSigningKey } from "../../sgx/index.ts"
import { dateOfEpoch } from "../epoch.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { readText } from "../read-text.ts"

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
    .argument("<binary>", "sealed binary; a signature that it has is replaced")
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

Example:
  coffer sign shop.sealed --key publisher.pem --isv-prod-id 7 --isv-svn 2`,
    )
    .action((binary: string, options: Options) => {
      const key = readSigningKey(readText(options.key), options.key)
      const date = options.date ?? dateOfEpoch(io.env["SOURCE_DATE_EPOCH"])
      const { isvProdId, isvSvn } = options
      const claims = signSealed(binary, { key, isvProdId, isvSvn, date })
      if (options.json === true) io.print(JSON.stringify(describeFields(claims)))
      else {
        io.print(`MrEnclave  ${toHex(claims.mrEnclave)}`)
        io.print(`MrSigner   ${toHex(claims.mrSigner)}`)
        io.print(`product ${isvProdId}, SVN ${isvSvn}, date ${date}`)
      }
    })
}
