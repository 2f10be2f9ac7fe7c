import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { Command } from "commander"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import { parseCofferYaml, type ServiceSource } from "../../manifest/index.ts"
import { parseImageReference } from "../../oci/index.ts"
import { type ProtectResult, policySkeleton, protectImage } from "../../protect/index.ts"
import { sealedReport } from "../../seal/index.ts"
import { readSigningKey } from "../../sgx/index.ts"
import { dateOfEpoch } from "../epoch.ts"
import { reportPage } from "../html/report-page.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { type Progress, progressBar } from "../progress.ts"
import { readText } from "../read-text.ts"
import { writeText } from "../write-text.ts"

interface Options {
  readonly file?: string
  readonly sign?: string
  readonly isvProdId: number
  readonly isvSvn: number
  readonly policyOut?: string
  readonly accessKey?: string
  readonly report?: string
  readonly json?: true
}

/** `coffer protect SRC DST`: a container image in, a protected image out. */
export function protectCommand(io: Io): Command {
  return new Command("protect")
    .description("make a protected image from a container image")
    .argument(
      "<src>",
      "the image: oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or -, docker://NAME, or a local name",
    )
    .argument("<dst>", "the protected image, written the same way")
    .option(
      "-f, --file <coffer.yaml>",
      "what is protected how; default ./coffer.yaml if there is one, else all code is measured",
    )
    .option(
      "--policy-out <file>",
      "write a first policy for the CAS, with the measurement and the volumes",
    )
    .option(
      "--access-key <hex>",
      "with --policy-out: who may change the policy (coffer keygen --access)",
    )
    .option(
      "--report <file.html>",
      "write what protects each file as one page, as coffer inspect --html",
    )
    .option("--sign <key.pem>", "sign the sealed binary with this RSA-3072 key (exponent 3)")
    .option("--isv-prod-id <n>", "product id in the signature", wholeNumber(0, 65_535), 0)
    .option("--isv-svn <n>", "security version in the signature", wholeNumber(0, 65_535), 0)
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
The same image and the same coffer.yaml give the same MrEnclave and the same image, on every machine.

Examples:
  coffer protect localhost/shop:1 localhost/shop:1-protected
  coffer protect oci:shop:1 oci:shop:1-protected --policy-out shop-policy.yaml --report shop.html
  podman save shop:1 | coffer protect docker-archive:- docker-archive:- | podman load`,
    )
    .action(async (from: string, to: string, options: Options) => {
      const bars: Progress[] = []
      const reference = parseImageReference(from)
      const beside = new Map<string, string>()
      if (options.accessKey !== undefined && !/^[0-9a-f]{64}$/.test(options.accessKey))
        throw new CofferError(
          "usage",
          `--access-key: wanted 64 lower-case hex digits, found '${options.accessKey}'`,
          { hint: "coffer keygen --access KEY.pem makes a key and prints its public half" },
        )
      try {
        const result = await protectImage({
          from: reference,
          to: parseImageReference(to),
          service: readService(options.file),
          name: nameOf(from),
          ...signing(options, io),
          input: process.stdin,
          output: (bytes) => io.write(bytes),
          onSealed(sealed, source) {
            const { policyOut, report: page, accessKey } = options
            const who = accessKey === undefined ? {} : { accessKey }
            if (policyOut !== undefined) beside.set(policyOut, policySkeleton(sealed, who))
            if (page !== undefined) beside.set(page, reportPage(sealedReport(sealed, source)))
          },
          progress(step) {
            bars.at(-1)?.end()
            const bar = progressBar(io, step)
            bars.push(bar)
            return bar.update
          },
        })
        bars.at(-1)?.end()
        for (const [file, text] of beside) writeText(file, text)
        report(io, to, result, options.json === true)
      } finally {
        bars.at(-1)?.end()
      }
    })
}

const everythingMeasured = "version: 1\n"

function readService(file: string | undefined): ServiceSource {
  const path = file ?? "coffer.yaml"
  try {
    return parseCofferYaml(readFileSync(path, "utf8"), path)
  } catch (error) {
    if (file === undefined && isErrno(error, "ENOENT"))
      return parseCofferYaml(everythingMeasured, "no coffer.yaml")
    throw fromSystem(error, `read ${path}`)
  }
}

function signing({ sign, isvProdId, isvSvn }: Options, io: Io) {
  if (sign === undefined) return {}
  const date = dateOfEpoch(io.env["SOURCE_DATE_EPOCH"])
  return { sign: { key: readSigningKey(readText(sign), sign), isvProdId, isvSvn, date } }
}

/** A service's name from the image's: `docker://r/x/shop:1` gives `shop`. */
function nameOf(reference: string): string {
  const path = reference.replace(/@sha256:.*$/, "").replace(/:[^/:]*$/, "")
  const name = basename(path.replace(/^[a-z-]+:/, ""))
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, "-")
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "")
    .slice(0, 63)
  return name === "" ? "service" : name
}

function report(io: Io, to: string, result: ProtectResult, json: boolean): void {
  for (const warning of result.warnings) io.warn(`warning: ${warning}`)
  const { manifest, ...facts } = result
  // An archive on standard output must stay alone there.
  const say =
    to === "docker-archive:-" ? (line: string) => io.warn(line) : (line: string) => io.print(line)
  if (json) {
    say(JSON.stringify(facts))
    return
  }
  say(`protected  ${to}`)
  say(`digest     ${result.digest}`)
  say(`MrEnclave  ${result.mrEnclave}`)
  if (result.mrSigner !== undefined) say(`MrSigner   ${result.mrSigner}`)
  if (!to.endsWith("archive:-")) io.warn(`next: coffer run ${to}${volumeOptions(manifest)}`)
}

function volumeOptions({ regions }: ProtectResult["manifest"]): string {
  const names = regions.flatMap((region) => (region.kind === "volume" ? [region.volume] : []))
  return [...new Set(names)].map((name) => ` --volume ${name}=DIR`).join("")
}
