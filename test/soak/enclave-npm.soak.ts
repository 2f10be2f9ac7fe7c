/** `npm install` of a real project from the registry, and a bundle by esbuild, on an encrypted volume in the enclave: as outside. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { lacksDebian } from "../support/debian.ts"
import { InAndOut } from "../support/in-and-out.ts"

function npmSays(...words: string[]): string {
  const { status, stdout } = spawnSync("npm", words, { encoding: "utf8" })
  return status === 0 ? stdout.trim() : ""
}

function lacks(): string | false {
  if (npmSays("--version") === "") return "no npm here"
  if (npmSays("view", "hono", "version") === "") return "no registry to reach"
  return lacksDebian()
}

/** This machine's npm, its settings and the pinned Node, and a project with what Coffer itself is made of. */
function fill(layer: string): void {
  for (const name of ["opt/node", "suite/project"])
    mkdirSync(join(layer, name), { recursive: true })
  cpSync(join(npmSays("root", "-g"), "npm"), join(layer, "opt/npm"), { recursive: true })
  copyFileSync(process.execPath, join(layer, "opt/node/node"))
  // The one library of Node's that Debian's smallest system does not have.
  const libraries = spawnSync("ldd", [process.execPath], { encoding: "utf8" }).stdout
  const atomic = /libatomic\.so\.1 => (\S+)/.exec(libraries)?.[1]
  if (atomic !== undefined) {
    mkdirSync(join(layer, "usr/lib"), { recursive: true })
    copyFileSync(atomic, join(layer, "usr/lib/libatomic.so.1"))
  }
  writeFileSync(join(layer, "opt/npmrc"), `registry=${npmSays("config", "get", "registry")}\n`)
  const authorities = process.env["NODE_EXTRA_CA_CERTS"]
  writeFileSync(join(layer, "opt/ca.pem"), authorities ? readFileSync(authorities) : "")
  copyFileSync(new URL("../compat/npm-work.ts", import.meta.url), join(layer, "suite/npm-work.ts"))
  const { dependencies, devDependencies } = JSON.parse(readFileSync("package.json", "utf8")) as {
    dependencies: Record<string, string>
    devDependencies: Record<string, string>
  }
  const { node: _, ...used } = dependencies
  const { esbuild = "" } = devDependencies
  const main = `import { Hono } from "hono"
import { parse } from "yaml"
import { z } from "zod"
const app = new Hono().get("/", (c) => c.json(z.object({ a: z.number() }).parse(parse("a: 1"))))
void (async () => console.log(await (await app.request("/")).text()))()
`
  const project = {
    name: "work",
    private: true,
    type: "module",
    dependencies: { ...used, esbuild },
  }
  writeFileSync(join(layer, "suite/project/package.json"), JSON.stringify(project))
  writeFileSync(join(layer, "suite/project/main.ts"), main)
}

test("npm install and esbuild in the enclave", { skip: lacks(), timeout: 900_000 }, async (t) => {
  const work = new InAndOut({
    name: "npm-work",
    rootfs: "nodejs",
    program: ["/opt/node/node", "/suite/npm-work.ts"],
    arguments: [],
    fill,
  })
  t.after(() => work.remove())
  await work.prepare()
  const [inside, outside] = await work.both([])
  assert.match(inside, /^the bundle says \{"a":1\}\n/)
  const lines = inside.split("\n")
  assert.ok(lines.length > 500, `${lines.length} files`)
  t.diagnostic(`${lines.length} files`)
  assert.deepEqual(lines, outside.split("\n"))
})
