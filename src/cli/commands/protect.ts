import { readFileSync } from "node:fs"
import { basename } from "node:path"
import { Command } from "commander"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import { everythingMeasured, parseCofferYaml, type ServiceSource } from "../../manifest/index.ts"
import { parseImageReference } from "../../oci/index.ts"
import {
  imageKeySecret,
  type ProtectResult,
  policySkeleton,
  protectImage,
  type WrittenStore,
} from "../../protect/index.ts"
import { type StoreContent, sealedReport } from "../../seal/index.ts"
import { readSigningKey } from "../../sgx/index.ts"
import { dataSize } from "../../tree/index.ts"
import { dateOfEpoch } from "../epoch.ts"
import {
  createFirstPolicy,
  type FirstPolicyOptions,
  firstAccessKey,
  withPolicyOptions,
} from "../first-policy.ts"
import { reportPage } from "../html/report-page.ts"
import { ImageKey } from "../image-key.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { formatSize, type Progress, progressBar } from "../progress.ts"
import { readText } from "../read-text.ts"
import { UsedFiles } from "../trace-options.ts"
import { enterUserNamespace } from "../user-namespace.ts"
import { writeText } from "../write-text.ts"

interface Options extends FirstPolicyOptions {
  readonly file?: string
  readonly sign?: string
  readonly isvProdId: number
  readonly isvSvn: number
  readonly policyOut?: string
  readonly accessKey?: string
  readonly report?: string
  readonly keys?: string
  readonly cache?: string
  readonly trace?: true
  readonly traceWith?: string
  readonly traceFile?: string
  readonly minimise?: true
  readonly json?: true
}

/** `coffer protect SRC DST`: a container image in, a protected image out. */
export function protectCommand(io: Io): Command {
  return withPolicyOptions(new Command("protect"))
    .description("make a protected image from a container image")
    .argument(
      "<src>",
      "the image: oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or -, docker://NAME, or a local name",
    )
    .argument("[dst]", "the protected image, written the same way; not needed with --trace alone")
    .argument("[command...]", "after --: what --trace runs in place of the image's command")
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
    .option(
      "--keys <file>",
      "key of encrypted content of the image: read when it is there, else made, 0600; default ./NAME.keys",
    )
    .option(
      "--cache <dir>",
      "keep decompressed layers there for the next time: the image's files in clear, for you alone",
    )
    .option("--sign <key.pem>", "sign the sealed binary with this RSA-3072 key (exponent 3)")
    .option("--isv-prod-id <n>", "product id in the signature", wholeNumber(0, 65_535), 0)
    .option("--isv-svn <n>", "security version in the signature", wholeNumber(0, 65_535), 0)
    .option("--trace", "run the service once, and say which files it used and which it missed")
    .option(
      "--trace-with <command>",
      "with --trace: a shell command here that uses the service; when it ends, the service is stopped",
    )
    .option(
      "--trace-file <file>",
      "with --trace: add what was found to this file; with --minimise alone: read it from there",
    )
    .option(
      "--minimise",
      "embed only the files that the trace used, and those under keep in coffer.yaml",
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
The same image and the same coffer.yaml give the same MrEnclave and the same image, on every machine.

Examples:
  coffer protect localhost/shop:1 localhost/shop:1-protected
  coffer protect oci:shop:1 oci:shop:1-protected --policy-out shop-policy.yaml --report shop.html
  coffer protect oci:shop:1 oci:shop:1-protected --create-policy --key owner.pem
  coffer protect oci:shop:1 --trace --trace-with 'curl --retry-connrefused --retry 9 localhost:8080'
  coffer protect oci:shop:1 oci:shop:1-protected --minimise --trace -- /usr/bin/python3 /app/main.py
  podman save shop:1 | coffer protect docker-archive:- docker-archive:- | podman load`,
    )
    .action((from: string, _to, _words, options: Options, command: Command) => {
      const { to, words } = operandsOf(command)
      return protect(from, to, { options, words, io })
    })
}

/** Commander makes no difference between the words before and after `--`. */
function operandsOf(command: Command): { to: string | undefined; words: readonly string[] } {
  const { rawArgs: raw = [] } = (command.parent ?? {}) as { readonly rawArgs?: readonly string[] }
  const dashes = raw.indexOf("--")
  const behind = dashes === -1 ? 0 : raw.length - dashes - 1
  const [, to, ...more] = command.args.slice(0, command.args.length - behind)
  if (more.length > 0)
    throw new CofferError("usage", `wanted one source and one target, found ${more[0]} as well`)
  return { to, words: command.args.slice(command.args.length - behind) }
}

function contentsOf(stores: readonly WrittenStore[]): Map<string, StoreContent> {
  return new Map(
    stores.map(({ region, files, content }) => [region.path, { size: dataSize(files), content }]),
  )
}

interface Asked {
  readonly options: Options
  /** What stands after `--`. */
  readonly words: readonly string[]
  readonly io: Io
}

async function protect(from: string, to: string | undefined, asked: Asked): Promise<void> {
  const { options, words, io } = asked
  if (to === undefined && (options.trace === undefined || options.minimise === true))
    throw new CofferError("usage", "wanted a target image, found none")
  if (options.trace === true) enterUserNamespace(io)
  const { policyOut, report: page, createPolicy } = options
  const accessKey = createPolicy === true ? firstAccessKey(options) : options.accessKey
  let policy = ""
  const reference = parseImageReference(from)
  const beside = new Map<string, string>()
  if (accessKey !== undefined && !/^[0-9a-f]{64}$/.test(accessKey))
    throw new CofferError(
      "usage",
      `--access-key: wanted 64 lower-case hex digits, found '${accessKey}'`,
      { hint: "coffer keygen --access KEY.pem makes a key and prints its public half" },
    )
  const service = readService(options.file)
  const name = nameOf(from)
  const bars: Progress[] = []
  const progress = (step: string) => {
    bars.at(-1)?.end()
    const bar = progressBar(io, step)
    bars.push(bar)
    return bar.update
  }
  const used = new UsedFiles(
    { from: reference, service, name, progress, command: words, io },
    options,
  )
  const keys = new ImageKey(options.keys, createPolicy === true)
  try {
    await used.prepare()
    if (to === undefined) {
      bars.at(-1)?.end()
      const coverage = used.report()
      if (options.json === true) io.print(JSON.stringify({ coverage }))
      return
    }
    const result = await protectImage({
      from: reference,
      to: parseImageReference(to),
      service,
      name,
      ...signing(options, io),
      ...used.selection,
      key: (of) => keys.of(of),
      cache: options.cache,
      input: process.stdin,
      output: (bytes) => io.write(bytes),
      onSealed(sealed, source, regions) {
        const who = accessKey === undefined ? { regions } : { accessKey, regions }
        policy = policySkeleton(sealed, who)
        if (policyOut !== undefined) beside.set(policyOut, policy)
        if (page !== undefined)
          beside.set(page, reportPage(sealedReport(sealed, source, contentsOf(regions))))
      },
      progress,
    })
    bars.at(-1)?.end()
    for (const [file, text] of beside) writeText(file, text)
    const made =
      createPolicy === true ? await createFirstPolicy(policy, keys.key, options, io) : undefined
    report(io, to, result, { ...options, made, keyFile: keys.file, coverage: used.report() })
  } finally {
    bars.at(-1)?.end()
  }
}

function readService(file: string | undefined): ServiceSource {
  const path = file ?? "coffer.yaml"
  try {
    return parseCofferYaml(readFileSync(path, "utf8"), path)
  } catch (error) {
    if (file === undefined && isErrno(error, "ENOENT")) return everythingMeasured()
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

interface Said {
  readonly json?: true
  readonly policyOut?: string
  readonly accessKey?: string
  /** The policy that is in the CAS now. */
  readonly made: string | undefined
  /** With the key of encrypted content. */
  readonly keyFile: string | undefined
  /** For `--json`. */
  readonly coverage: unknown
}

function report(io: Io, to: string, result: ProtectResult, said: Said): void {
  for (const warning of result.warnings) io.warn(`warning: ${warning}`)
  const { manifest, ...facts } = result
  // An archive on standard output must stay alone there.
  const say =
    to === "docker-archive:-" ? (line: string) => io.warn(line) : (line: string) => io.print(line)
  if (said.json === true) {
    const { keyFile, coverage, made } = said
    say(JSON.stringify({ ...facts, keyFile, policy: made, coverage }))
    return
  }
  say(`protected  ${to}`)
  say(`digest     ${result.digest}`)
  say(`MrEnclave  ${result.mrEnclave}`)
  if (result.mrSigner !== undefined) say(`MrSigner   ${result.mrSigner}`)
  for (const { region, tag, fileCount, size } of result.regions)
    say(
      `region     ${region.path}: ${region.protection}, ${fileCount} files, ${formatSize(size)}, tag ${tag}`,
    )
  if (said.made !== undefined) say(`policy     ${said.made}`)
  if (said.keyFile !== undefined) io.warn(`key        ${said.keyFile}: keep it, and keep it secret`)
  if (!to.endsWith("archive:-")) for (const line of nextCommands(to, manifest, said)) io.warn(line)
}

function nextCommands(to: string, manifest: ProtectResult["manifest"], said: Said): string[] {
  const volumes = volumeOptions(manifest)
  const { keyFile, policyOut } = said
  const needsPolicy = manifest.regions.some(
    (region) =>
      region.kind === "image" && (region.tag === undefined || region.protection === "encrypted"),
  )
  const named = ` --policy ${manifest.name}/${manifest.name}`
  if (said.made !== undefined) return [`next: coffer run ${to}${named}${volumes}`]
  if (policyOut === undefined || !needsPolicy) {
    const keys = keyFile === undefined ? "" : ` --keys ${keyFile}`
    return [`next: coffer run ${to}${keys}${volumes}`]
  }
  const secret = keyFile === undefined ? "" : ` --secret ${imageKeySecret}=${keyFile}`
  return [
    ...(said.accessKey === undefined
      ? [
          `next: coffer keygen --access owner.pem   and put the key that it prints into ${policyOut}`,
        ]
      : []),
    `next: coffer policy create ${policyOut} --key owner.pem${secret}`,
    `then: coffer run ${to}${named}${volumes}`,
  ]
}

function volumeOptions({ regions }: ProtectResult["manifest"]): string {
  const names = regions.flatMap((region) => (region.kind === "volume" ? [region.volume] : []))
  return [...new Set(names)].map((name) => ` --volume ${name}=DIR`).join("")
}
