// npm and esbuild at work: installs the project of this folder, bundles it, and prints every file that came of it.
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs"
import { join } from "node:path"

const project = "/data/project"
const env = {
  ...process.env,
  HOME: "/data/home",
  PATH: "/opt/node:/usr/bin:/bin",
  NODE_EXTRA_CA_CERTS: "/opt/ca.pem",
}
const npm = (...words: readonly string[]) =>
  execFileSync("/opt/node/node", ["/opt/npm/bin/npm-cli.js", ...words], {
    cwd: project,
    env,
    stdio: ["ignore", "ignore", "inherit"],
  })

mkdirSync("/data/home", { recursive: true })
cpSync("/suite/project", project, { recursive: true })
npm("install", "--no-audit", "--no-fund", "--userconfig", "/opt/npmrc")
npm("ls", "--all", "--userconfig", "/opt/npmrc")
execFileSync(
  join(project, "node_modules/.bin/esbuild"),
  ["main.ts", "--bundle", "--minify", "--platform=node", "--format=cjs", "--outfile=bundle.cjs"],
  { cwd: project, env, stdio: ["ignore", "ignore", "inherit"] },
)
const said = execFileSync("/opt/node/node", ["bundle.cjs"], { cwd: project, env, encoding: "utf8" })
console.log(`the bundle says ${said.trim()}`)

const names = readdirSync(project, { recursive: true, withFileTypes: true })
const lines = names.map((entry) => {
  const path = join(entry.parentPath, entry.name)
  if (entry.isSymbolicLink()) return `${path} -> ${readlinkSync(path)}`
  const { mode } = statSync(path)
  if (!entry.isFile()) return `${path} ${mode.toString(8)}`
  const hash = createHash("sha256").update(readFileSync(path)).digest("hex")
  // npm writes down where it was and when.
  return `${path} ${mode.toString(8)} ${entry.name === ".package-lock.json" ? "" : hash}`
})
for (const line of lines.toSorted()) console.log(line)
