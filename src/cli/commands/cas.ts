import {
  closeSync,
  createReadStream,
  fstatSync,
  fsyncSync,
  openSync,
  statSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { Command } from "commander"
import {
  type Cas,
  type CasServer,
  openBackend,
  openCas,
  readBackup,
  serveCas,
  writeBackup,
} from "../../cas/index.ts"
import { CofferError, fromSystem } from "../../errors.ts"
import { bindToTpm, masterKey, type TpmOptions } from "../cas-master.ts"
import { type CasOptions, collect, dataDir, withCasOptions, withClient } from "../cas-options.ts"
import { FreshCollateral } from "../fresh-collateral.ts"
import type { Io } from "../io.ts"
import { progressBar } from "../progress.ts"
import { signalled } from "../signalled.ts"

interface StoreOptions extends TpmOptions {
  readonly store?: string
  readonly masterKey?: string
  readonly collateral?: readonly string[]
  readonly createKey?: readonly string[]
  readonly json?: true
}

interface ServeOptions extends StoreOptions {
  readonly listen: string
  readonly page: string
  readonly name?: readonly string[]
  readonly quiet?: true
}

/** `coffer cas …`: run a configuration and attestation service. */
export function casCommand(io: Io): Command {
  return new Command("cas")
    .description("the configuration and attestation service: keys, secrets, freshness")
    .addCommand(initCommand(io))
    .addCommand(serveCommand(io))
    .addCommand(statusCommand(io))
    .addCommand(auditCommand(io))
    .addCommand(backupCommand(io))
    .addCommand(restoreCommand(io))
}

function withStore(command: Command): Command {
  return command
    .option("--store <store>", "a directory (SQLite), or postgres://USER@HOST/DATABASE")
    .option("--master-key <file>", "64 hex digits, or sealed; default: master.key in the directory")
    .option(
      "--tpm <address>",
      "/dev/tpmrm0, unix:PATH or HOST:PORT: unseals the key, and its counter binds the database",
    )
}

const bindMs = 600_000

interface Place {
  readonly store: string
  readonly keyFile: string
}

function placeOf(options: StoreOptions, io: Io): Place {
  const store = options.store ?? join(dataDir(io), "cas")
  const isUrl = /^postgres(ql)?:\/\//.test(store)
  const keyFile =
    options.masterKey ?? (isUrl ? join(dataDir(io), "cas-master.key") : join(store, "master.key"))
  return { store, keyFile }
}

async function open(options: StoreOptions, io: Io, create: boolean): Promise<Cas> {
  const { store, keyFile } = placeOf(options, io)
  // The directory is made by the store, so it comes before the key file in it.
  if (create) await (await openBackend(store)).close()
  const collateral = options.collateral ?? []
  return await openCas({
    store,
    master: await masterKey(keyFile, options, create),
    create,
    creators: options.createKey ?? [],
    evidence: collateral.length === 0 ? {} : renewed(collateral, io),
  })
}

/** A CAS runs for longer than collateral lasts: each verification takes what its operator has put there. */
function renewed(paths: readonly string[], io: Io) {
  const fresh = new FreshCollateral(paths, (line) => io.warn(line))
  return {
    get collateral() {
      return fresh.collateral
    },
  }
}

async function withCas<T>(
  options: StoreOptions,
  io: Io,
  create: boolean,
  work: (cas: Cas) => Promise<T>,
): Promise<T> {
  const cas = await open(options, io, create)
  try {
    return await work(cas)
  } finally {
    await cas.close()
  }
}

function initCommand(io: Io): Command {
  return withStore(
    new Command("init")
      .description("make a CAS: its master key, its identity, its database")
      .option(
        "--seal-to <pcrs>",
        "seal the master key to these PCRs of the TPM, for example sha256:7,sha256:11",
      ),
  ).action(
    async (options: StoreOptions) =>
      await withCas(options, io, true, async (cas) => {
        if (cas.identity.created) {
          await cas.note("cas-created", { identity: cas.identity.name })
          await bindToTpm(cas, options, true)
        }
        io.print(cas.identity.name)
        const { keyFile } = placeOf(options, io)
        io.warn(`The line above is the CAS's key: clients pin it. Its master key is ${keyFile}:`)
        io.warn(
          "keep a copy of that file elsewhere; insecure where the disk is not trusted (who owns the disk owns the key).",
        )
      }),
  )
}

function serveCommand(io: Io): Command {
  const command = new Command("serve")
    .description("serve a CAS over HTTPS until SIGINT or SIGTERM; makes one when there is none")
    .option("--listen <host:port>", "where services come in", "127.0.0.1:8441")
    .option("--page <host:port>", "where people look (page, metrics), or none", "127.0.0.1:8442")
    .option("--name <host>", "one more name for the certificate; again for more", collect)
    .option(
      "--collateral <path>",
      "Intel's and AMD's files, file or folder; again for more",
      collect,
    )
    .option(
      "--create-key <hex>",
      "only who has this access key may put new policies; again for more",
      collectKey,
    )
    .option("--quiet", "no line for each request")
  return withStore(command).action(
    async (options: ServeOptions) =>
      await withCas(options, io, true, async (cas) => {
        const bar = progressBar(io, "verifying")
        await cas.guard((done) => bar.update(done, undefined)).finally(() => bar.end())
        const first = cas.identity.created
        await cas.note(first ? "cas-created" : "cas-started", { identity: cas.identity.name })
        await bindToTpm(cas, options, first)
        // What an adversary could put back unnoticed by the TPM is at most this long.
        const binding = setInterval(() => {
          void bindToTpm(cas, options, false).catch((error: unknown) => io.warn(String(error)))
        }, bindMs)
        const api = hostPort(options.listen, "--listen")
        const page = options.page === "none" ? undefined : hostPort(options.page, "--page")
        const server = await serveCas({
          cas,
          host: api.host,
          port: api.port,
          ...(page === undefined ? {} : { pageHost: page.host, pagePort: page.port }),
          ...(options.name === undefined ? {} : { names: options.name }),
          log: (event) => {
            if (options.quiet !== true)
              io.warn(JSON.stringify({ time: new Date().toISOString(), ...event }))
          },
        })
        if (options.tpm === undefined)
          io.warn(
            "insecure: the master key is a plain file; `coffer cas init --tpm … --seal-to …` seals it",
          )
        warnOfMode(placeOf(options, io).keyFile, io)
        if (options.createKey === undefined && !isLoopback(api.host))
          io.warn(
            "note: whoever reaches this CAS can put new policies into it; --create-key HEX limits that",
          )
        await announce(cas, server, io)
        await signalled()
        clearInterval(binding)
        await server.close()
      }),
  )
}

/** Who reads the master key reads all secrets. */
function warnOfMode(file: string, io: Io): void {
  const mode = (statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o777
  if ((mode & 0o077) !== 0)
    io.warn(`insecure: ${file} has mode 0${mode.toString(8)}: wanted 0600, for its owner alone`)
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.")
}

async function announce(cas: Cas, server: CasServer, io: Io): Promise<void> {
  io.print(`CAS at ${server.url}, key ${cas.identity.name}`)
  if (server.pageUrl !== undefined) io.warn(`Page and metrics: ${server.pageUrl}`)
  const policies = await cas.policies("", 1)
  if (policies.length > 0) return
  const where = `--cas ${server.url} --cas-key ${cas.identity.name}`
  for (const line of [
    "",
    "There is no policy yet. What to do next:",
    "  1. coffer keygen --access alice.pem            a key of yours; it prints the public half",
    "  2. coffer protect IMAGE PROTECTED --policy-out shop.yaml",
    "     the skeleton of a policy: put the public half under access.keys (docs/policies.md explains each line)",
    "  3. coffer policy check shop.yaml",
    `  4. coffer policy create shop.yaml --key alice.pem ${where}`,
    `  5. coffer run PROTECTED --policy NAME/SERVICE ${where}`,
    "     the name of the policy, and of the service in it, as they stand in shop.yaml",
    "",
  ])
    io.warn(line)
}

function collectKey(value: string, all: readonly string[] | undefined): readonly string[] {
  if (!/^[0-9a-f]{64}$/.test(value))
    throw new CofferError(
      "usage",
      `--create-key: wanted 64 hex digits, found ${JSON.stringify(value)}`,
      { hint: "coffer keygen --access prints them" },
    )
  return collect(value, all)
}

function hostPort(text: string, option: string): { readonly host: string; readonly port: number } {
  const [, host = "", port = ""] = /^(\[[0-9a-f:]+\]|[^:]+):(\d{1,5})$/i.exec(text) ?? []
  if (host === "" || Number(port) > 65_535)
    throw new CofferError("usage", `${option}: wanted HOST:PORT, found ${JSON.stringify(text)}`)
  return { host: host.replaceAll(/[[\]]/g, ""), port: Number(port) }
}

/** A CAS can have a million volumes. */
const statusMost = 100

function statusCommand(io: Io): Command {
  const command = new Command("status")
    .description("who a CAS is and what it holds")
    .option("--json", "print one JSON document")
  return withStore(withCasOptions(command)).action(async (options: StoreOptions & CasOptions) => {
    if (options.cas !== undefined) {
      const info = await withClient(options, io, (client) => client.info())
      io.print(
        options.json === true
          ? JSON.stringify(info)
          : `key ${info.cas}\nlog at entry ${info.head.sequence}, version ${info.version}`,
      )
      return
    }
    const store = options.casDir ?? options.store
    await withCas(store === undefined ? options : { ...options, store }, io, false, async (cas) => {
      const [head, counts] = [await cas.head(), await cas.counts()]
      const [policies, volumes] = [
        await cas.policies("", statusMost),
        await cas.volumes("", "", statusMost),
      ]
      if (options.json === true)
        io.print(JSON.stringify({ cas: cas.identity.name, head, counts, policies, volumes }))
      else {
        io.print(`key ${cas.identity.name}`)
        io.print(
          `log at entry ${head.sequence}, ${counts.policies} policies, ${counts.volumes} volumes`,
        )
        for (const volume of volumes)
          io.print(`  ${volume.name}  ${volume.state}  commit ${volume.sequence}  ${volume.tag}`)
        if (counts.volumes > volumes.length)
          io.print(`  … and ${counts.volumes - volumes.length} more: coffer policy show NAME`)
      }
    })
  })
}

function auditCommand(io: Io): Command {
  const verify = withStore(
    new Command("verify")
      .description(
        "check the whole log and every row against the head; exit 3 or 4 when something does not fit",
      )
      .option("--json", "print one JSON document"),
  ).action(
    async (options: StoreOptions) =>
      await withCas(options, io, false, async (cas) => {
        const bar = progressBar(io, "verifying")
        const point = await cas
          .verify((done) => bar.update(done, undefined))
          .finally(() => bar.end())
        io.print(
          options.json === true
            ? JSON.stringify(point)
            : `good: ${point.sequence} entries, head ${point.hash}`,
        )
      }),
  )
  const show = withStore(
    new Command("show")
      .description("print the log, one entry a line")
      .option("--from <entry>", "the first entry", "1"),
  ).action(
    async (options: StoreOptions & { readonly from: string }) =>
      await withCas(options, io, false, async (cas) => {
        let first = Number(options.from)
        for (
          let lines = await cas.auditLines(first, 1000);
          lines.length > 0;
          lines = await cas.auditLines(first, 1000)
        ) {
          for (const line of lines) io.print(line)
          first += lines.length
        }
      }),
  )
  return new Command("audit")
    .description("the audit log, a hash chain")
    .addCommand(verify)
    .addCommand(show)
}

function backupCommand(io: Io): Command {
  return withStore(
    new Command("backup")
      .description("write all of the database, sealed as it is, to one new file")
      .argument("<file>"),
  ).action(async (file: string, options: StoreOptions) => {
    const backend = await openBackend(placeOf(options, io).store)
    try {
      const fd = openNew(file)
      const rows = await writeBackup(backend, (line) => void writeSync(fd, line)).finally(() => {
        fsyncSync(fd)
        closeSync(fd)
      })
      io.print(`${file}: ${rows} rows`)
      io.warn("It opens only with the master key, which is not in it: keep that apart from it.")
    } finally {
      await backend.close()
    }
  })
}

function openNew(file: string): number {
  try {
    return openSync(file, "wx", 0o600)
  } catch (error) {
    throw fromSystem(error, file)
  }
}

function restoreCommand(io: Io): Command {
  return withStore(
    new Command("restore")
      .description("a backup into an empty database; then everything is verified")
      .argument("<file>"),
  ).action(async (file: string, options: StoreOptions) => {
    const { store } = placeOf(options, io)
    const rows = await fill(store, file)
    await withCas(options, io, false, async (cas) => {
      const before = await cas.verify()
      await cas.note("cas-restored", { entry: before.sequence })
      io.print(`${rows} rows, log verified up to entry ${before.sequence}`)
      io.warn(
        "Clients that saw a newer state of this CAS will refuse it (exit 4): that is how a rollback looks.",
      )
    })
  })
}

async function fill(store: string, file: string): Promise<number> {
  // Before the store makes its directory.
  closeSync(openOld(file))
  const backend = await openBackend(store)
  try {
    return await readBackup(backend, () => linesOf(file))
  } finally {
    await backend.close()
  }
}

function linesOf(file: string): AsyncIterable<string> {
  return createInterface({ input: createReadStream(file), crlfDelay: Infinity })
}

function openOld(file: string): number {
  try {
    const fd = openSync(file, "r")
    if (!fstatSync(fd).isDirectory()) return fd
    closeSync(fd)
  } catch (error) {
    throw fromSystem(error, file)
  }
  throw new CofferError("config", `${file}: wanted a backup, found a directory`)
}
