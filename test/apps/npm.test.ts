/** `npm ci` of a real project on a volume: some of our own dependencies, at the versions and hashes of our lock file. */
import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { lacks, run } from "../support/run.ts"
import { cannotServe, withDaemon } from "../support/volume-daemon.ts"

interface Locked {
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const roots = ["commander", "hono", "pg", "yaml", "zod"]

/** The packages that `roots` need, as our lock file has them. */
function closure(packages: Readonly<Record<string, Locked>>): Record<string, Locked> {
  const found: Record<string, Locked> = {}
  const todo = [...roots]
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    const locked = packages[`node_modules/${name}`]
    if (locked === undefined || found[`node_modules/${name}`] !== undefined) continue
    found[`node_modules/${name}`] = locked
    todo.push(...Object.keys({ ...locked.dependencies, ...locked.optionalDependencies }))
  }
  return found
}

function writeProject(folder: string): readonly string[] {
  const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
    packages: Record<string, Locked>
  }
  const packages = closure(lock.packages)
  const dependencies = Object.fromEntries(
    roots.map((name) => [name, packages[`node_modules/${name}`]?.version ?? ""]),
  )
  const project = { name: "on-a-volume", version: "1.0.0" }
  mkdirSync(folder)
  writeFileSync(join(folder, "package.json"), JSON.stringify({ ...project, dependencies }))
  writeFileSync(
    join(folder, "package-lock.json"),
    JSON.stringify({
      ...project,
      lockfileVersion: 3,
      packages: { "": { ...project, dependencies }, ...packages },
    }),
  )
  return Object.keys(packages)
}

function install(t: TestContext, cwd: string): boolean {
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0"]
  const timeouts = ["--fetch-timeout=20000", "--cache", join(cwd, ".cache")]
  try {
    run(["npm", "ci", ...quiet, ...timeouts], { cwd })
    return true
  } catch (error) {
    const text = String(error)
    if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|E40[34]/.test(text)) throw error
    t.skip("needs a registry of npm packages, none answers")
    return false
  }
}

test(
  "npm: `npm ci` on a volume, and its packages load after a new mount",
  {
    skip: cannotServe() || lacks("npm"),
  },
  (t) =>
    withDaemon({}, async (daemon) => {
      const project = join(daemon.mount, "project")
      const packages = writeProject(project)
      if (!install(t, project)) return
      assert.ok(packages.length > 10)
      await daemon.stop()
      await daemon.start()
      const tree = run(["npm", "ls"], { cwd: project })
      for (const name of roots) assert.match(tree, new RegExp(` ${name}@`))
      const program = `for (const name of ${JSON.stringify(roots)}) if (!(await import(name))) throw name`
      run([process.execPath, "--input-type=module", "-e", program], { cwd: project })
      assert.equal(daemon.errors, "")
    }),
)
