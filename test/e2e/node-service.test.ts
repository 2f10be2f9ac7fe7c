import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { debianRootfs, lacksDebian } from "../support/debian.ts"
import { type Done, lacksPodman, Podman } from "../support/podman.ts"

// The main job for a Node service: a Debian image with a web service in it, protected, run by podman, asked over HTTP.

const service = `
import { appendFileSync, existsSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import { price } from "./pricing.mjs"

const orders = "/data/orders.jsonl"
createServer((request, response) => {
  let body = ""
  request.on("data", (part) => (body += part))
  request.on("end", () => {
    if (request.method === "POST")
      appendFileSync(orders, JSON.stringify([body, price(body)]) + "\\n", { flush: true })
    const lines = existsSync(orders) ? readFileSync(orders, "utf8").trim().split("\\n") : []
    response.end(JSON.stringify(lines.map((line) => JSON.parse(line))))
  })
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"))
process.on("SIGTERM", () => process.exit(0))
`
const pricing = (factor: number) =>
  `export const price = (item) => ${factor} * item.length // the secret algorithm\n`
const yaml = `
version: 1
name: node-shop
service: { binary: /usr/bin/node, args: { set: [/app/shop.mjs], allow: ["[0-9]+"] } }
regions:
  - { path: /data, protection: encrypted, lifetime: persistent, volume: orders }
  - { path: /tmp, protection: encrypted, lifetime: ephemeral, size: 16MiB }
`
const root = new URL("../..", import.meta.url).pathname
const name = "coffer-node-shop"
let folder = ""
let port = 0
let engine: Podman
const at = (...names: readonly string[]) => join(folder, ...names)

function must(command: string): string {
  const { status, stdout, stderr } = spawnSync("sh", ["-ec", command], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, COFFER_FROM_SOURCE: "1" },
  })
  assert.equal(status, 0, `${command}: ${stdout}${stderr}`)
  return stdout
}

/** An image layout with Debian, Node and the service; from it a protected one, which podman then has. */
function protectedImage(label: string, factor: number): string {
  mkdirSync(at(label, "app"), { recursive: true })
  writeFileSync(at(label, "app/shop.mjs"), service)
  writeFileSync(at(label, "app/pricing.mjs"), pricing(factor))
  writeFileSync(at("coffer.yaml"), yaml)
  must(
    `cp -r base ${label}/image
     tar -cf ${label}/app.tar --sort=name --owner=0 --group=0 --mtime=@0 -C ${label} app
     umoci raw add-layer --image ${label}/image:1 ${label}/app.tar
     ${root}coffer protect oci:${label}/image:1 oci:${label}/protected:1 -f coffer.yaml`,
  )
  const image = `localhost/${label}:1`
  engine.load(`oci:${folder}/${label}/protected:1`, image)
  return image
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  const address = server.address()
  server.close()
  return typeof address === "object" && address !== null ? address.port : 0
}

function podmanRun(image: string, ...options: readonly string[]): Done {
  const words = ["-d", "--name", name, "-v", `${at("orders")}:/data`, ...options]
  const [program = "", ...args] = engine
    .command("run", ...words, image, String(port))
    .map((word) => (word === "--network=none" ? "--network=host" : word))
  return spawnSync(program, args, { encoding: "utf8", timeout: 60_000 })
}

/** Starts the service, lets `use` ask it, and stops it as an engine does. */
async function whileRunning(image: string, use: (order: Ask) => Promise<void>): Promise<void> {
  const { status, stderr } = podmanRun(image)
  try {
    assert.equal(status, 0, stderr)
    await use(ask)
    engine.call("stop", "-t", "20", name)
    assert.equal(engine.call("inspect", "-f", "{{.State.ExitCode}}", name).stdout, "0\n")
  } finally {
    engine.remove(name)
  }
}

type Ask = (item?: string) => Promise<unknown>

async function ask(item?: string): Promise<unknown> {
  const init = item === undefined ? {} : { method: "POST", body: item }
  for (let i = 0; ; i += 1) {
    try {
      return await (await fetch(`http://127.0.0.1:${port}/`, init)).json()
    } catch (error) {
      if (i > 200) throw new Error(engine.call("logs", name).stderr, { cause: error })
      await sleep(100)
    }
  }
}

function refusedRun(image: string, sentence: RegExp, ...options: readonly string[]): void {
  const { status, stderr } = podmanRun(image, ...options)
  engine.call("rm", "-f", name)
  assert.notEqual(status, 0)
  assert.match(stderr, sentence)
}

void describe("a Node service under podman", { skip: lacksDebian() || lacksPodman() }, () => {
  let image = ""
  let other = ""
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "coffer-node-"))
    engine = new Podman(folder, {
      COFFER_FROM_SOURCE: "1",
      COFFER_INSECURE_CAS_DIR: at("node-cas"),
    })
    port = await freePort()
    mkdirSync(at("orders"))
    must(
      `umoci init --layout base; umoci new --image base:1
       umoci raw add-layer --image base:1 ${debianRootfs("nodejs")}
       umoci config --image base:1 --config.entrypoint /usr/bin/node`,
    )
    image = protectedImage("shop", 3)
    other = protectedImage("changed", 4)
  })
  after(() => {
    engine.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test("it answers, keeps its state, and its disk shows none of it", async () => {
    await whileRunning(image, async (order) => {
      assert.deepEqual(await order("tea"), [["tea", 9]])
    })
    cpSync(at("orders"), at("older"), { recursive: true })
    await whileRunning(image, async (order) => {
      assert.deepEqual(await order("coffee"), [
        ["tea", 9],
        ["coffee", 18],
      ])
      assert.equal(spawnSync("grep", ["-rqa", "coffee", at("orders")]).status, 1)
    })
  })

  test("an older volume, an emptied one, another MrEnclave, NODE_OPTIONS: refused", async () => {
    renameSync(at("orders"), at("newer"))
    cpSync(at("older"), at("orders"), { recursive: true })
    refusedRun(image, /older/)
    rmSync(at("orders"), { recursive: true })
    mkdirSync(at("orders"))
    refusedRun(image, /wanted the volume that CAS/)
    rmSync(at("orders"), { recursive: true })
    renameSync(at("newer"), at("orders"))
    refusedRun(other, /measurements/)
    refusedRun(image, /process.env: wanted .* found NODE_OPTIONS/, "-e", "NODE_OPTIONS=-r/tmp/x")
    await whileRunning(image, async (order) => {
      assert.deepEqual(await order(), [
        ["tea", 9],
        ["coffee", 18],
      ])
    })
  })
})
