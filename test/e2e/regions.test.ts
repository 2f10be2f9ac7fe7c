/** Every cell of the table in docs/regions.md: it works as it says, or is refused with words. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { coffer } from "../support/cli.ts"
import { makeTinyImage } from "../support/tiny-image.ts"

const root = new URL("../..", import.meta.url).pathname
let folder = ""

interface Cell {
  readonly name: string
  readonly path: string
  /** Fields of the region but for its path; undefined: none is declared, which is the default. */
  readonly region: string | undefined
  /** What the service sees in `PATH/file` at a first and at a second start; it writes `changed` each time. */
  readonly sees: readonly [string, string]
  /** What a write comes to; `readOnly: true`: when the manifest says so. */
  readonly write: "works" | "refused when readOnly"
}

const image = "from the image"
const forgotten = [image, image] as const
const kept = [image, "changed"] as const
const empty = ["nothing", "nothing"] as const

const cells: readonly Cell[] = [
  {
    name: "content of the image, measured",
    path: "/app/measured",
    region: undefined,
    sees: forgotten,
    write: "refused when readOnly",
  },
  {
    name: "content of the image, authenticated",
    path: "/app/authenticated",
    region: "protection: authenticated, lifetime: ephemeral",
    sees: forgotten,
    write: "refused when readOnly",
  },
  {
    name: "content of the image, encrypted",
    path: "/app/encrypted",
    region: "protection: encrypted, lifetime: ephemeral",
    sees: forgotten,
    write: "refused when readOnly",
  },
  {
    name: "content of the image, encrypted and measured",
    path: "/app/both",
    region: "protection: encrypted, lifetime: ephemeral, measured: true",
    sees: forgotten,
    write: "refused when readOnly",
  },
  {
    name: "measured inside another region",
    path: "/app/encrypted/measured",
    region: "protection: measured",
    sees: forgotten,
    write: "refused when readOnly",
  },
  {
    name: "ephemeral, empty at start, encrypted",
    path: "/scratch",
    region: "protection: encrypted, lifetime: ephemeral, size: 1MiB",
    sees: empty,
    write: "works",
  },
  {
    name: "persistent, encrypted",
    path: "/data/encrypted",
    region: "protection: encrypted, lifetime: persistent, volume: encrypted, seed: image",
    sees: kept,
    write: "works",
  },
  {
    name: "persistent, authenticated",
    path: "/data/authenticated",
    region: "protection: authenticated, lifetime: persistent, volume: authenticated, seed: image",
    sees: kept,
    write: "works",
  },
  {
    name: "persistent, none: a directory of the host",
    path: "HOST",
    region: "protection: none, source: host, format: directory",
    sees: ["nothing", "changed"],
    write: "works",
  },
]

const refusals: readonly (readonly [what: string, region: string, message: RegExp])[] = [
  [
    "content of the image, none",
    "protection: none, lifetime: ephemeral",
    /no lifetime with protection none/,
  ],
  ["none without a word about the host", "protection: none", /wanted source: host, found none/],
  [
    "empty at start, none",
    "protection: none, lifetime: ephemeral, size: 1MiB",
    /no lifetime with protection none/,
  ],
  [
    "empty at start, authenticated",
    "protection: authenticated, lifetime: ephemeral, size: 1MiB",
    /wanted protection: encrypted for what begins empty/,
  ],
  [
    "empty at start, measured",
    "protection: measured, size: 1MiB",
    /no size with protection measured/,
  ],
  [
    "persistent, measured",
    "protection: measured, lifetime: persistent",
    /no lifetime with protection measured/,
  ],
  [
    "a persistent volume with a size",
    "protection: encrypted, lifetime: persistent, size: 1MiB",
    /no size with protection encrypted/,
  ],
]

const script = `
for place in "$@"; do
  if test -e $place/file; then read -r found < $place/file; else found=nothing; fi
  echo "$place sees $found"
  if echo changed 2>/dev/null > $place/file; then echo "$place: the write works"; else echo "$place: the write is refused"; fi
done
if dd if=/dev/zero of=/scratch/big bs=64k count=64 2>/dev/null; then echo no limit; else echo limited; fi
`

function pathOf({ path }: Cell): string {
  return path === "HOST" ? join(folder, "host") : path
}

function yaml(readOnly: boolean): string {
  const argv = JSON.stringify(["/bin/sh", "-c", script, "sh", ...cells.map(pathOf)])
  const regions = cells.flatMap((cell) =>
    cell.region === undefined ? [] : [`  - { path: ${pathOf(cell)}, ${cell.region} }`],
  )
  return `version: 1
name: table
service: { argv: ${argv}, readOnly: ${readOnly} }
env: { set: { PATH: /bin } }
regions:
${regions.join("\n")}
`
}

function lacks(): string | false {
  if (process.getuid?.() !== 0) return "mounts need root"
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  return spawnSync("runc", ["--version"]).status === 0 ? false : "no runc here"
}

interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** `home`: whose embedded CAS. */
function run(home: string, ...args: readonly string[]): Ran {
  return spawnSync(join(root, "coffer"), ["run", ...args], {
    encoding: "utf8",
    cwd: folder,
    env: { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: join(folder, home) },
    timeout: 60_000,
  })
}

async function protect(name: string, text: string, source = "source"): Promise<string> {
  writeFileSync(join(folder, `${name}.yaml`), text)
  const made = await coffer(
    "protect",
    `oci:${folder}/${source}:1`,
    `oci:${folder}/${name}:1`,
    "-f",
    join(folder, `${name}.yaml`),
    "--keys",
    join(folder, "table.keys"),
  )
  assert.equal(made.code, 0, made.err)
  return `oci:${folder}/${name}:1`
}

const volumes = ["--volume", "encrypted=encrypted", "--volume", "authenticated=authenticated"]

void describe("the table of regions", { skip: lacks() }, () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "coffer-regions-"))
    mkdirSync(join(folder, "host"))
    const files = cells.filter(({ sees: [first] }) => first === image).map(({ path }) => path)
    makeTinyImage(
      join(folder, "source"),
      Object.fromEntries(files.map((path) => [`${path}/file`, `${image}\n`])),
    )
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  test("each cell that works, at a first and a second start", async () => {
    const made = await protect("writable", yaml(false))
    assert.equal(statSync(join(folder, "table.keys")).mode & 0o777, 0o600)
    for (const start of [0, 1] as const) {
      const ran = run("one", made, "--keys", "table.keys", ...volumes)
      assert.equal(ran.status, 0, ran.stderr)
      for (const cell of cells) {
        const path = pathOf(cell)
        assert.ok(
          ran.stdout.includes(`${path} sees ${cell.sees[start]}\n`),
          `${cell.name}: ${ran.stdout}`,
        )
        assert.ok(ran.stdout.includes(`${path}: the write works\n`), cell.name)
      }
      assert.match(ran.stdout, /^limited$/m)
    }
    assert.equal(readFileSync(join(folder, "host/file"), "utf8"), "changed\n")
  })

  test("readOnly: true: what is of the image cannot be changed, all else can", async () => {
    const made = await protect("readonly", yaml(true))
    const ran = run(
      "two",
      made,
      "--keys",
      "table.keys",
      "--volume",
      "encrypted=e2",
      "--volume",
      "authenticated=a2",
    )
    assert.equal(ran.status, 0, ran.stderr)
    for (const cell of cells) {
      const outcome = cell.write === "works" ? "works" : "is refused"
      assert.ok(
        ran.stdout.includes(`${pathOf(cell)}: the write ${outcome}\n`),
        `${cell.name}: ${ran.stdout}`,
      )
    }
  })

  test("more regions than descriptors of one digit", manyRegions)

  for (const [what, region, message] of refusals)
    test(`refused: ${what}`, async () => {
      const file = join(folder, "refused.yaml")
      writeFileSync(
        file,
        `version: 1\nservice: { argv: [/bin/sh] }\nregions: [{ path: /app/measured, ${region} }]\n`,
      )
      const target = `oci:${folder}/refused:1`
      const made = await coffer("protect", `oci:${folder}/source:1`, target, "-f", file)
      assert.equal(made.code, 2, made.err)
      assert.match(made.err, message)
      assert.match(made.err, /\/app\/measured/)
      assert.ok(!existsSync(join(folder, "refused")))
    })
})

async function manyRegions(): Promise<void> {
  const places = Array.from({ length: 12 }, (_, i) => `/many/${i}`)
  const files = Object.fromEntries(places.map((path) => [`${path}/file`, `content of ${path}\n`]))
  makeTinyImage(join(folder, "source-many"), files)
  const shell = `for place in "$@"; do cat $place/file; done; ls /proc/self/fd`
  const argv = JSON.stringify(["/bin/sh", "-c", shell, "sh", ...places])
  const lines = places.map(
    (path) => `  - { path: ${path}, protection: encrypted, lifetime: ephemeral }`,
  )
  const text = `version: 1\nname: many\nservice: { argv: ${argv} }\nenv: { set: { PATH: /bin } }\nregions:\n${lines.join("\n")}\n`
  const made = await protect("many", text, "source-many")
  const ran = run("one", made, "--keys", "table.keys")
  assert.equal(ran.status, 0, ran.stderr)
  for (const path of places) assert.ok(ran.stdout.includes(`content of ${path}\n`), ran.stdout)
  // Of `ls`: its own, and none of ours.
  assert.match(ran.stdout, /\n0\n1\n2\n3\n$/)
}
