/** The manifests of examples/kubernetes against the types of the Kubernetes API, and against the image that they are for. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { parseAllDocuments } from "yaml"
import { parseCofferYaml } from "../../src/manifest/index.ts"
import { coffer } from "../support/cli.ts"

const folder = "examples/kubernetes"

/** The type of each kind, by its place in the package `kubernetes-types`. */
const types: Readonly<Record<string, string>> = {
  "v1 Namespace": "core/v1",
  "v1 PersistentVolumeClaim": "core/v1",
  "v1 Service": "core/v1",
  "apps/v1 Deployment": "apps/v1",
  "apps/v1 StatefulSet": "apps/v1",
  "node.k8s.io/v1 RuntimeClass": "node/v1",
}

interface Item {
  readonly file: string
  readonly value: Record<string, unknown>
}

function items(): Item[] {
  const files = readdirSync(folder).filter((name) => /^(runtimeclass|shop|cas)\.yaml$/.test(name))
  return files.flatMap((file) =>
    parseAllDocuments(readFileSync(join(folder, file), "utf8")).map((document) => {
      assert.deepEqual(document.errors, [])
      return { file, value: document.toJS() as Record<string, unknown> }
    }),
  )
}

/** A program that compiles only when each manifest is one of its kind, with no field that the kind does not have. */
function programOf(all: readonly Item[]): string {
  return all
    .map(({ file, value }, i) => {
      const kind = String(value["kind"])
      const place = types[`${String(value["apiVersion"])} ${kind}`]
      assert.ok(place, `${file}: ${kind}`)
      return `const item${i}: import("kubernetes-types/${place}").${kind} = ${JSON.stringify(value)}\nvoid item${i} // ${file}\n`
    })
    .join("")
}

function compile(text: string): string {
  // In the checkout, so that the types are found.
  const place = mkdtempSync("node_modules/.kubernetes-")
  try {
    writeFileSync(join(place, "items.ts"), text)
    const options = { strict: true, noEmit: true, module: "esnext", moduleResolution: "bundler" }
    const compilerOptions = { ...options, skipLibCheck: true, types: [] }
    writeFileSync(
      join(place, "tsconfig.json"),
      JSON.stringify({ compilerOptions, files: ["items.ts"] }),
    )
    return spawnSync("node_modules/.bin/tsc", ["-p", place], { encoding: "utf8" }).stdout
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

test("each manifest is what the Kubernetes API takes, field by field", () => {
  const all = items()
  assert.ok(all.length >= 9)
  assert.equal(compile(programOf(all)), "")
})

test("the check finds a field of another name, and one of another type", () => {
  const [deployment] = items().filter(({ value }) => value["kind"] === "Deployment")
  assert.ok(deployment)
  const spec = deployment.value["spec"] as Record<string, unknown>
  for (const wrong of [{ replica: 1 }, { replicas: "1" }]) {
    const value = { ...deployment.value, spec: { ...spec, ...wrong } }
    assert.match(compile(programOf([{ ...deployment, value }])), /error TS2/)
  }
})

function itemOf(kind: string): Record<string, unknown> {
  const item = items().find(({ value }) => value["kind"] === kind)
  assert.ok(item, kind)
  return item.value
}

interface PodSpec {
  readonly runtimeClassName: string
  readonly containers: readonly {
    readonly livenessProbe: { readonly exec: { readonly command: readonly string[] } }
    readonly volumeMounts: readonly { readonly mountPath: string }[]
  }[]
}

test("the pod asks for nothing that the image's manifest does not allow", () => {
  const manifest = parseCofferYaml(readFileSync(join(folder, "coffer.yaml"), "utf8"), "coffer.yaml")
  const { template } = itemOf("Deployment")["spec"] as {
    readonly template: { readonly spec: PodSpec }
  }
  const { name } = itemOf("RuntimeClass")["metadata"] as { readonly name: string }
  assert.equal(template.spec.runtimeClassName, name)
  for (const container of template.spec.containers) {
    for (const field of ["command", "args", "env", "tty", "stdin"])
      assert.ok(!(field in container), field)
    assert.deepEqual(manifest.service.exec, [container.livenessProbe.exec.command])
    const volumes = (manifest.regions ?? []).filter(({ lifetime }) => lifetime === "persistent")
    assert.deepEqual(
      container.volumeMounts.map(({ mountPath }) => mountPath),
      volumes.map(({ path }) => path),
    )
  }
})

test("the handler is the one that coffer setup containerd writes; the policy is a good one", async () => {
  const setup = await coffer("setup", "containerd", "--dry-run")
  const handler = String(itemOf("RuntimeClass")["handler"])
  assert.ok(setup.out.join("\n").includes(`runtimes.${handler}]`))
  const checked = await coffer("policy", "check", join(folder, "policy.yaml"))
  assert.equal(checked.code, 0, checked.err)
})

test("the CAS is started with options that it has", async () => {
  const help = (await coffer("cas", "serve", "--help")).out.join("\n")
  const text = readFileSync(join(folder, "cas.yaml"), "utf8")
  const options = [...text.matchAll(/^ +- (--[a-z-]+)=/gm)].map(([, option = ""]) => option)
  assert.ok(options.length >= 5)
  for (const option of options) assert.ok(help.includes(`${option} <`), option)
})

test("the unit is one that systemd takes", (t) => {
  if (spawnSync("systemd-analyze", ["--version"]).status !== 0)
    return t.skip("no systemd-analyze here")
  const { stderr } = spawnSync("systemd-analyze", ["verify", join(folder, "coffer-node.service")], {
    encoding: "utf8",
  })
  const lines = stderr.split("\n").filter((line) => line.includes("coffer-node.service"))
  return assert.deepEqual(
    lines.filter((line) => !line.includes("is not executable")),
    [],
  )
})
