import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { lacksRun, Run } from "../support/coffer-run.ts"
import { debianRootfs, lacksDebian } from "../support/debian.ts"
import { layoutOfTars } from "../support/debian-image.ts"

// A web service in a Debian image is traced, and the image with only what it used runs as the whole one does.

const pythonService = `
import http.server, json, os, sys
class Shop(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    here = os.path.dirname(__file__)
    text = open(os.path.join(here, 'rarely.json')).read() if self.path == '/rare' else json.dumps(os.listdir(here))
    self.send_response(200)
    self.end_headers()
    self.wfile.write(text.encode())
  def log_message(self, *_): pass
import signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
try:
  import pricing_plugin
except ImportError: pass
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Shop).serve_forever()
`
const nodeService = `
const http = require("node:http")
const fs = require("node:fs")
http.createServer((request, response) => {
  const rare = request.url === "/rare"
  response.end(rare ? fs.readFileSync(__dirname + "/rarely.json") : JSON.stringify(fs.readdirSync(__dirname)))
}).listen(Number(process.argv[2]), "127.0.0.1")
process.on("SIGTERM", () => process.exit(0))
`
const services = [
  {
    title: "Python",
    packageName: "python3",
    program: "/usr/bin/python3",
    file: "shop.py",
    text: pythonService,
  },
  {
    title: "Node",
    packageName: "nodejs",
    program: "/usr/bin/node",
    file: "shop.js",
    text: nodeService,
  },
] as const

const root = new URL("../..", import.meta.url).pathname
let folder = ""
let port = 0

interface Coverage {
  readonly files: Readonly<
    Record<"all" | "read" | "looked" | "declared" | "leftOut", { count: number; size: number }>
  >
  readonly missed: readonly string[]
  readonly read: readonly string[]
}

function coffer(...words: readonly string[]): {
  stdout: string
  stderr: string
  status: number | null
} {
  return spawnSync(join(root, "coffer"), words, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, COFFER_FROM_SOURCE: "1" },
    timeout: 120_000,
  })
}

function coverageOf(...words: readonly string[]): Coverage {
  const { stdout, stderr, status } = coffer("protect", "--json", ...words)
  assert.equal(status, 0, stderr)
  return (JSON.parse(stdout) as { coverage: Coverage }).coverage
}

function makeImage(service: Service): void {
  const app = join(folder, "layer", "app")
  mkdirSync(app, { recursive: true })
  writeFileSync(join(app, service.file), service.text)
  writeFileSync(join(app, "rarely.json"), '"rare"')
  writeFileSync(join(app, "never.json"), '"never"')
  const tar = join(folder, "app.tar")
  const made = spawnSync("tar", [
    "-cf",
    tar,
    "--owner=0",
    "--group=0",
    "-C",
    join(folder, "layer"),
    "app",
  ])
  assert.equal(made.status, 0)
  layoutOfTars([debianRootfs(service.packageName), tar], join(folder, "image"))
  writeFileSync(
    join(folder, "coffer.yaml"),
    `version: 1
name: shop
service: { binary: ${service.program}, args: { set: [/app/${service.file}, "${port}"] } }
keep: [/app/rare*.json]
regions: []
`,
  )
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  const address = server.address()
  server.close()
  return typeof address === "object" && address !== null ? address.port : 0
}

async function ask(path: string): Promise<unknown> {
  for (let i = 0; ; i += 1) {
    try {
      return await (await fetch(`http://127.0.0.1:${port}${path}`)).json()
    } catch (error) {
      if (i > 150) throw error
      await sleep(100)
    }
  }
}

type Service = (typeof services)[number]

function traces(service: Service): void {
  const asked = `fetch("http://127.0.0.1:${port}/").then((r) => r.text()).then(() => process.exit(0), () => process.exit(1))`
  const exercise = `for i in $(seq 100); do ${process.execPath} -e '${asked}' && exit; sleep 0.1; done; exit 1`
  const traced = coverageOf(
    "oci:image:1",
    "--trace",
    "--trace-with",
    exercise,
    "--trace-file",
    "trace",
  )
  const { all, read, leftOut, declared } = traced.files
  assert.ok(read.count > 5 && read.size > 1e6, JSON.stringify(traced.files))
  assert.equal(declared.count, 1)
  assert.ok(
    leftOut.count > all.count / 2 && leftOut.size > all.size / 3,
    JSON.stringify(traced.files),
  )
  assert.ok(traced.read.includes(`/app/${service.file}`))
  assert.ok(!traced.read.includes("/app/never.json"))
  if (service.title === "Python")
    assert.ok(
      traced.missed.includes("/app/pricing_plugin.py") ||
        traced.missed.some((path) => path.includes("pyvenv.cfg")),
    )
  assert.match(readFileSync(join(folder, "trace"), "utf8"), /^coffer-trace 1\nread \//)
}

async function runsMinimised(service: Service): Promise<void> {
  const minimised = ["protect", "oci:image:1", "--minimise", "--trace-file", "trace"] as const
  const [first, again, whole] = [
    coffer(...minimised, "oci:small:1"),
    coffer(...minimised, "oci:small:2"),
    coffer("protect", "oci:image:1", "oci:whole:1"),
  ]
  assert.equal(first.status, 0, first.stderr)
  assert.match(first.stderr, /kept .* files, .* MiB of .*%/)
  assert.match(first.stderr, /left out +\/usr/)
  assert.equal(again.stdout.replace(":2", ":1"), first.stdout)
  assert.notEqual(whole.stdout.split("\n")[2], first.stdout.split("\n")[2])
  const running = new Run(folder, [`oci:${folder}/small:1`])
  try {
    assert.deepEqual(await ask("/"), ["rarely.json", service.file])
    assert.equal(await ask("/rare"), "rare")
  } finally {
    running.child.kill("SIGTERM")
    await running.status()
  }
}

function tracesCommand(): void {
  folder = mkdtempSync(join(tmpdir(), "minimise-"))
  try {
    makeImage(services[0])
    const { read } = coverageOf("oci:image:1", "--trace", "--", "/bin/cat", "/etc/debian_version")
    assert.ok(read.includes("/etc/debian_version") && !read.includes("/app/shop.py"))
    assert.match(
      coffer("protect", "docker-archive:-", "--trace").stderr,
      /read twice, found a pipe/,
    )
    for (const words of [["--minimise"], ["--trace-file", "x"], ["--trace-with", "true"]])
      assert.equal(coffer("protect", "oci:image:1", "oci:x:1", ...words).status, 2)
    assert.throws(() => statSync(join(folder, "x")))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("protect --trace and --minimise", { skip: lacksDebian() || lacksRun() }, () => {
  before(async () => {
    port = await freePort()
  })

  for (const service of services) {
    describe(service.title, () => {
      before(() => {
        folder = mkdtempSync(join(tmpdir(), "minimise-"))
        makeImage(service)
      })
      after(() => rmSync(folder, { recursive: true, force: true }))

      test("the trace says what was used, missed and left", () => traces(service))
      test("the minimised image is small, the same each time, and its service works", () =>
        runsMinimised(service))
    })
  }

  test(
    "the command after -- runs in place of the image's, and a source that is no file is refused",
    tracesCommand,
  )
})

test("every command of docs/minimise.md works", {
  skip: lacksDebian() || lacksRun(),
  timeout: 300_000,
}, (t) => {
  const place = mkdtempSync(join(tmpdir(), "minimise-docs-"))
  t.after(() => rmSync(place, { recursive: true, force: true }))
  const text = readFileSync(join(root, "docs/minimise.md"), "utf8")
  const block = (kind: string) =>
    [...text.matchAll(new RegExp(`\`\`\`${kind}\\n([^]*?)\`\`\``, "g"))].map(([, one]) => one)
  mkdirSync(join(place, "layer/app"), { recursive: true })
  writeFileSync(join(place, "layer/app/app.py"), "print(open('/data/x', 'w').write('visit'))\n")
  writeFileSync(join(place, "coffer.yaml"), block("yaml").join(""))
  const tar = join(place, "app.tar")
  spawnSync("tar", ["-cf", tar, "--owner=0", "--group=0", "-C", join(place, "layer"), "app"])
  layoutOfTars([debianRootfs("python3"), tar], join(place, "shop"))
  symlinkSync(join(root, "coffer"), join(place, "coffer"))
  const done = spawnSync("bash", ["-euo", "pipefail", "-c", block("sh").join("\n")], {
    cwd: place,
    encoding: "utf8",
    env: {
      ...process.env,
      COFFER_FROM_SOURCE: "1",
      XDG_DATA_HOME: join(place, "xdg"),
      PATH: `${place}:${process.env["PATH"] ?? ""}`,
    },
  })
  assert.equal(done.status, 0, `${done.stdout}${done.stderr}`)
  assert.match(done.stderr, /kept +[1-9]\d+ files/)
  assert.match(done.stdout, /MrEnclave {2}[0-9a-f]{64}[^]*\n5\n/)
})
