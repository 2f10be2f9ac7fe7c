/**
 * The CAS under load, over HTTPS, server and clients on this machine: full attestations per second (goal 300), tag
 * updates per second (goal 3,000), p99, memory. `node bench/cas.ts [--quick] [--json] [--policies N] [--volumes N]`: so many
 * more policies, and volumes with a tag each, are there before.
 */
import { fork } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fromHex, toHex } from "../src/bytes/index.ts"
import { httpTransport } from "../src/cas/http-transport.ts"
import { CasClient, openEmbeddedCas, serveCas } from "../src/cas/index.ts"
import { randomBytes } from "../src/crypto/index.ts"
import { Node, person, policyText, putPolicy } from "../test/support/cas.ts"
import { fillCas } from "../test/support/cas-fill.ts"

interface Row {
  readonly what: string
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly goal: number | undefined
  /** The server's CPU time for one call, microseconds: what does not depend on how busy the machine is. */
  readonly cpu: number
}

const option = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(name)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}

async function serve(dir: string): Promise<void> {
  const begin = performance.now()
  const { cas } = await openEmbeddedCas(dir)
  await cas.guard()
  const server = await serveCas({
    cas,
    host: "127.0.0.1",
    port: 0,
    rate: 1e9,
    log: () => undefined,
  })
  process.send?.({ url: server.url, key: cas.identity.name, ms: performance.now() - begin })
  process.on("message", () => {
    void server
      .close()
      .then(() => cas.close())
      .then(() => process.exit(0))
  })
}

/** `count` calls, `width` at a time; what each took. */
async function load(
  pid: number,
  what: string,
  goal: number | undefined,
  count: number,
  width: number,
  call: (lane: number) => Promise<unknown>,
): Promise<Row> {
  const times: number[] = []
  let left = count
  const cpuBefore = cpuSeconds(pid)
  const begin = performance.now()
  await Promise.all(
    Array.from({ length: width }, async (_, lane) => {
      while (left > 0) {
        left -= 1
        const at = performance.now()
        await call(lane)
        times.push(performance.now() - at)
      }
    }),
  )
  const seconds = (performance.now() - begin) / 1000
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.floor((times.length - 1) * share)] ?? 0
  return {
    what,
    perSecond: count / seconds,
    p50: at(0.5),
    p99: at(0.99),
    goal,
    cpu: ((cpuSeconds(pid) - cpuBefore) / count) * 1e6,
  }
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ")
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024
}

function policyOf(admin: string, volumes: number): string {
  return policyText(admin).replace("data: { instances: 2 }", `data: { instances: ${volumes} }`)
}

async function run(): Promise<void> {
  const quick = process.argv.includes("--quick")
  const dir = mkdtempSync(join(tmpdir(), "coffer-bench-cas-"))
  const width = 32
  const prepared = await openEmbeddedCas(dir)
  const alice = person()
  await putPolicy(prepared.cas, policyOf(alice.public, 64), [alice])
  await prepared.close()
  await fillCas(dir, { policies: option("--policies", 0), tags: option("--volumes", 0) })
  const child = fork(import.meta.filename, ["--serve", dir], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  })
  try {
    const { url, key, ms } = await new Promise<Served>((resolve) =>
      child.once("message", (message) => resolve(message as Served)),
    )
    const pid = child.pid ?? 0
    const casKey = fromHex(key) ?? new Uint8Array()
    const client = new CasClient({ transport: httpTransport(url, casKey), casKey })
    const node = await new Node().prepare(client)
    const ask = (
      volumes: { name: string; access: "read" | "write"; instance: number; takeover: boolean }[],
    ) =>
      client.attest({
        policy: "shop",
        service: "web",
        volumes,
        makeEvidence: (binding) => node.evidence(binding),
      })
    const scale = quick ? 0.1 : 1
    await load(pid, "warm-up", undefined, 200 * scale, width, () => ask([]))
    const rows = [await load(pid, "full attestations", 300, 3000 * scale, width, () => ask([]))]
    const lanes = await Promise.all(
      Array.from({ length: 64 }, async (_, instance) => {
        const { volumes } = await ask([{ name: "data", access: "write", instance, takeover: true }])
        const [grant] = volumes
        if (grant === undefined) throw new TypeError("one volume was asked for")
        return { grant, at: { sequence: grant.sequence, tag: grant.tag } }
      }),
    )
    const move = async (lane: number): Promise<void> => {
      const one = lanes[lane]
      if (one === undefined) return
      const next = { sequence: one.at.sequence + 1, tag: toHex(randomBytes(32)) }
      await client.moveTag("shop", one.grant, one.at, next)
      one.at = next
    }
    await load(pid, "warm-up", undefined, 2000 * scale, 64, move)
    rows.push(
      await load(pid, "tag updates, 64 volumes", 3000, option("--tags", 30_000) * scale, 64, move),
    )
    rows.push(await load(pid, "tag updates, one volume", undefined, 500 * scale, 1, () => move(0)))
    const memory = residentMb(pid)
    await client.close()
    print(rows, memory, ms)
  } finally {
    child.send("stop")
    await new Promise((resolve) => child.once("exit", resolve))
    rmSync(dir, { recursive: true, force: true })
  }
}

interface Served {
  readonly url: string
  readonly key: string
  /** Until it served. */
  readonly ms: number
}

function print(rows: readonly Row[], memory: number, startMs: number): void {
  if (process.argv.includes("--json")) {
    console.log(JSON.stringify({ rows, serverMiB: memory, startMs }))
    return
  }
  console.log(
    "| what | per second | goal | p50 ms | p99 ms | server CPU, µs each |\n|---|---:|---:|---:|---:|---:|",
  )
  for (const { what, perSecond, goal, p50, p99, cpu } of rows)
    console.log(
      `| ${what} | ${perSecond.toFixed(0)} | ${goal ?? ""} | ${p50.toFixed(1)} | ${p99.toFixed(1)} | ${cpu.toFixed(0)} |`,
    )
  console.log(
    `\nserver: ${memory.toFixed(0)} MiB resident; ${(startMs / 1000).toFixed(1)} s from opening the database to serving`,
  )
}

const serveAt = process.argv.indexOf("--serve")
if (serveAt >= 0) await serve(process.argv[serveAt + 1] ?? "")
else if (import.meta.main) await run()
