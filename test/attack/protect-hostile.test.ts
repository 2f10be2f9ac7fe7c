import assert from "node:assert/strict"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { coffer } from "../support/cli.ts"
import { type Json, type LayerSpec, layer, writeImage } from "../support/hostile/make.ts"
import { member, pax } from "../support/raw-tar.ts"

// An adversary chooses every word of the image, and we protect it and look at it. It ends in an error with a sentence, or in
// a protected image; nothing that it chose reaches the terminal as a control character or the report as markup.

const escape = "\x1b]52;c;ZXZpbA==\x07\u202e"
const markup = "<script>alert(1)</script>"
const file = (name: string, data = "x"): Uint8Array =>
  member({ name, data, mode: name.startsWith("bin/") ? "0000755" : "0000644" })
const program = file("bin/program")
const directory = (name: string): Uint8Array => member({ name, type: "5", mode: "0000755" })
const symlink = (name: string, linkName: string): Uint8Array =>
  member({ name, linkName, type: "2" })

interface Case {
  readonly name: string
  readonly members?: readonly Uint8Array[]
  /** Of the image's config; the other members of the document in `document`. */
  readonly config?: Json
  readonly document?: Json
  /** Of the message; undefined: it is protected. */
  readonly refused?: RegExp
}

const cases: readonly Case[] = [
  { name: "in order" },
  {
    name: "escape sequences in values that are allowed",
    config: {
      Env: [`A=${escape}`],
      Entrypoint: ["/bin/program", escape],
      Labels: { [escape]: escape },
      ExposedPorts: { [escape]: {} },
    },
  },
  {
    name: "markup in values and names",
    config: { Env: [`A=${markup}`], Entrypoint: ["/bin/program", markup], Labels: { a: markup } },
    members: [file(markup), file(`"onload=x`), directory(`d${markup}`), symlink("l", markup)],
  },
  {
    name: "escape sequences in file names",
    members: [file(escape.replaceAll("/", "")), symlink("s", escape), file("bin/evil\x1b[2J")],
  },
  {
    name: "a variable without a value",
    config: { Env: [escape.replaceAll("=", "")] },
    refused: /wanted NAME=VALUE, found '\\u001b/,
  },
  {
    name: "a variable named after every object's prototype",
    config: { Env: ["__proto__=x"] },
    refused: /manifest: wanted known fields/,
  },
  { name: "NUL in a variable", config: { Env: ["A=\0"] }, refused: /NUL/ },
  {
    name: "a million variables",
    config: { Env: Array.from({ length: 100_000 }, (_, i) => `V${i}=${i}`) },
    refused: /./,
  },
  {
    name: "a working directory above the root",
    config: { WorkingDir: "/../../etc" },
    refused: /cwd/,
  },
  { name: "a relative working directory", config: { WorkingDir: "etc" }, refused: /cwd/ },
  {
    name: "a volume above the root",
    config: { Volumes: { "/../../etc": {} } },
    refused: /no '.' or '..'|regions/,
  },
  {
    name: "a relative volume",
    config: { Volumes: { data: {} } },
    refused: /no '.' or '..'|regions/,
  },
  {
    name: "a volume over the program",
    config: { Volumes: { "/bin": {} } },
    refused: /wanted a measured file/,
  },
  { name: "a volume over the root", config: { Volumes: { "/": {} } }, refused: /./ },
  { name: "a volume over the kernel's mounts", config: { Volumes: { "/proc": {} } }, refused: /./ },
  {
    name: "two volumes with one name",
    config: { Volumes: { "/a/b": {}, "/a-b": {} } },
    refused: /./,
  },
  {
    name: "an escape sequence as a volume",
    config: { Volumes: { [`/${escape}`]: {} } },
  },
  {
    name: "another signal",
    config: { StopSignal: escape },
    refused: /StopSignal: wanted one of .*, found \\u001b/,
  },
  { name: "a signal of systemd images", config: { StopSignal: "SIGRTMIN+3" } },
  {
    name: "another architecture",
    document: { architecture: escape },
    refused: /architecture: wanted amd64 or arm64, found \\u001b/,
  },
  { name: "a user that is none", config: { User: escape }, refused: /user/ },
  { name: "a user id over 2^32", config: { User: "4294967295" }, refused: /user/ },
  { name: "no program", config: { Entrypoint: [], Cmd: [] }, refused: /binary/ },
  {
    name: "a program by a relative way",
    config: { Entrypoint: ["../bin/program"] },
    refused: /binary/,
  },
  {
    name: "a program that is a directory",
    config: { Entrypoint: ["/bin"] },
    refused: /wanted an executable file/,
  },
  {
    name: "a program behind a ring of symlinks",
    members: [symlink("a", "b"), symlink("b", "a")],
    config: { Entrypoint: ["/a"] },
    refused: /wanted an executable file/,
  },
  {
    name: "a program on the host",
    members: [symlink("sh", "../../../../../../bin/sh")],
    config: { Entrypoint: ["/sh"] },
    refused: /wanted an executable file/,
  },
  {
    name: "a list of users of 2^40 bytes, all holes",
    members: [
      pax({
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "etc/passwd",
        "GNU.sparse.realsize": String(2 ** 40),
      }),
      member({ data: "0\n".padEnd(512, "\0") }),
    ],
    config: { User: "app" },
    refused: /user/,
  },
  {
    name: "a list of users that is a fifo",
    members: [member({ name: "etc/passwd", type: "6" })],
    config: { User: "app" },
    refused: /user/,
  },
  {
    name: "a list of users on the host",
    members: [symlink("etc/passwd", "../../../../../etc/passwd")],
    config: { User: "daemon" },
    refused: /user/,
  },
  {
    name: "a device that overlayfs takes for a whiteout",
    members: [member({ name: "w", type: "3", major: "0000000", minor: "0000000" })],
    refused: /overlay|whiteout/,
  },
  {
    name: "xattrs that overlayfs would obey",
    members: [pax({ "SCHILY.xattr.trusted.overlay.opaque": "y" }), directory("o")],
    refused: /overlay/,
  },
  {
    name: "a mount point that is a symlink to the host",
    members: [symlink("proc", "/etc"), symlink("etc/resolv.conf", "/root/x")],
  },
  {
    name: "a mount point that is a file",
    members: [file("data")],
    config: { Volumes: { "/data": {} } },
    refused: /regions: \/data: wanted a directory/,
  },
  {
    name: "a file where the sealed binary goes",
    members: [file("coffer/service"), symlink("coffer/x", "service")],
  },
]

function noControls(text: string): void {
  assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u)
}

function imageOf(folder: string, { members = [], config, document }: Case): string {
  const layers: readonly LayerSpec[] = [layer(program, ...members)]
  const all = { architecture: "amd64", config: { Entrypoint: ["/bin/program"], ...config } }
  return writeImage(join(folder, "image"), { layers, config: { ...all, ...document } })
}

async function protect(t: TestContext, one: Case): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "protect-hostile-"))
  const own = process.env["TMPDIR"]
  t.after(() => {
    if (own === undefined) delete process.env["TMPDIR"]
    else process.env["TMPDIR"] = own
    rmSync(folder, { recursive: true, force: true })
  })
  const temporary = join(folder, "tmp")
  mkdirSync(temporary)
  process.env["TMPDIR"] = temporary
  const page = join(folder, "report.html")
  const from = imageOf(folder, one)
  const to = `oci:${join(folder, "out")}:1`
  const done = await coffer("protect", from, to, "--report", page)
  const said = `${done.err}\n${done.out.join("\n")}`
  noControls(said)
  if (one.refused !== undefined) {
    assert.ok(done.code === 2 || done.code === 3, said)
    assert.match(done.err, one.refused)
    assert.ok(!existsSync(join(folder, "out", "index.json")))
    assert.deepEqual(readdirSync(temporary), [])
    return
  }
  assert.equal(done.code, 0, said)
  for (const words of [
    ["inspect", to],
    ["measure", to],
    ["diff", to, to],
  ] as const) {
    const looked = await coffer(...words)
    assert.equal(looked.code, 0, looked.err)
    noControls(`${looked.err}\n${looked.out.join("\n")}`)
  }
  const html = readFileSync(page, "utf8")
  assert.ok(!html.includes(markup) && !html.includes(escape))
  assert.deepEqual(readdirSync(temporary), [])
}

for (const one of cases) test(one.name, (t) => protect(t, one))
