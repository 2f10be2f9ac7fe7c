import assert from "node:assert/strict"
import { globSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { test } from "node:test"

/** Each layer may import from the layers before it. docs/architecture.md quotes this list. */
const layers: readonly (readonly string[])[] = [
  ["bytes"],
  ["sys", "der"],
  ["crypto", "tree"],
  ["verity", "tar", "elf", "fuse", "sgx"],
  ["oci", "binfs", "volume", "manifest", "policy"],
  ["seal", "shield", "attest"],
  ["protect", "cas", "node"],
  ["runtime"],
  ["cli"],
]

const rank = new Map(layers.flatMap((names, i) => names.map((name) => [name, i] as const)))
const sources = globSync("src/*/**/*.ts").filter((file) => !file.endsWith(".test.ts"))

/** A start evaluates nothing before its first thread: what that takes is imported by itself. */
const alone = new Set(["src/shield/threads.ts", "src/sys/worker.ts"])

function importsOf(file: string): string[] {
  const text = readFileSync(file, "utf8")
  return [...text.matchAll(/(?:from|import\() ?"(\.[^"]+)"/g)].map(([, to]) =>
    normalize(join(dirname(file), to ?? "")),
  )
}

test("modules import only lower layers, and only through their index.ts", () => {
  for (const file of sources) {
    const [, from = ""] = file.split("/")
    const fromRank = rank.get(from)
    assert.ok(fromRank !== undefined, `${file}: add ${from} to the layer list`)
    for (const target of importsOf(file)) {
      const [, to = "", rest] = target.split("/")
      if (to === from || rest === undefined) continue // own module, or src/errors.ts
      const toRank = rank.get(to)
      assert.ok(toRank !== undefined && toRank < fromRank, `${file} must not import ${target}`)
      if (alone.has(target)) continue
      assert.equal(target, `src/${to}/index.ts`, `${file}: import src/${to}/index.ts instead`)
    }
  }
})

test("only src/sys touches node:ffi, and only src/cli and the entries of src/runtime print, exit or read the environment", () => {
  for (const file of sources) {
    const text = readFileSync(file, "utf8")
    if (!file.startsWith("src/sys/"))
      assert.ok(!text.includes('"node:ffi"'), `${file} must not use node:ffi`)
    if (file.startsWith("src/cli/") || file === "src/runtime/program.ts") continue
    assert.doesNotMatch(
      text,
      /(?<!["`.])\bprocess\.(exit|stdout|stderr|env|argv)\b|\bconsole\./,
      `${file} must not print, exit or read the environment`,
    )
  }
})
