import assert from "node:assert/strict"
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { CofferError } from "../errors.ts"
import { loadNodeConfig, type NodeConfig, parseNodeConfig } from "./index.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-node-config-"))
after(() => rmSync(folder, { recursive: true, force: true }))

const config =
  (...message: readonly RegExp[]) =>
  (error: unknown) =>
    error instanceof CofferError &&
    error.code === "config" &&
    message.every((part) => part.test(error.message))

test("the file of docs/node.md, and what it leaves out", () => {
  const [, text = ""] = /```yaml\n([^]*?)```/.exec(readFileSync("docs/node.md", "utf8")) ?? []
  const parsed: NodeConfig = parseNodeConfig(text, "node.yaml")
  assert.deepEqual(parsed, {
    version: 1,
    platform: {
      type: "tpm2",
      device: "/dev/tpmrm0",
      pcrs: [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 15],
    },
    cas: { url: "https://cas.example:8441", key: "a".repeat(64) },
    engine: "trusted",
    socket: "/run/coffer/node.sock",
    hooks: [],
  })
})

test("every field that docs/node.md lists is one, and the other way round", () => {
  const full = `version: 1
platform: { type: tpm2, device: "localhost:2321", pcrs: [0] }
cas: { url: "https://c:1", key: "${"0".repeat(64)}" }
engine: outside
socket: /s
collateral: /c
hooks: [{ path: /h, sha256: "${"0".repeat(64)}" }]
`
  const parsed = parseNodeConfig(full, "n")
  const listed = [...readFileSync("docs/node.md", "utf8").matchAll(/^\| (`[^|]+`) \|/gm)]
    .flatMap(([, names = ""]) => names.split(", "))
    .map((name) => name.replaceAll("`", "").split(".")[0])
  const fields = Object.keys(parsed).filter((name) => name !== "version")
  assert.deepEqual(new Set(listed), new Set(fields))
})

function bad(text: string, ...message: readonly RegExp[]): void {
  assert.throws(() => parseNodeConfig(`version: 1\n${text}`, "n.yaml"), config(...message))
}

test("a mistake names line and field", () => {
  bad("platform: { type: sgx }", /n\.yaml:2:/, /platform\.type/)
  bad("platform: { type: tdx, device: /dev/x }", /platform\.device: wanted a known field/)
  bad("platform: { type: tpm2, device: tpm0 }", /platform\.device: wanted \/dev/)
  bad("platform: { type: tpm2, pcrs: [24] }", /pcrs\[0\]: wanted a PCR/)
  bad("platform: { type: tdx }\ncas: { url: http://x, key: aa }", /n\.yaml:3:/, /https:\/\/HOST/)
  bad("platform: { type: tdx }\ncas: { url: https://x:1 }", /cas\.key: wanted/)
  bad("platform: { type: tdx }\nsocket: run/x", /socket: wanted an absolute path/)
  bad("platform: { type: tdx }\nengine: none", /engine: wanted trusted or outside/)
  bad("platform: { type: tdx }\nhooks: [{ path: /h }]", /sha256/)
  bad("", /platform: wanted/)
})

test("no file is no agent; a file that others can write is refused", () => {
  const file = join(folder, "node.yaml")
  assert.throws(() => loadNodeConfig(file), { code: "missing" })
  writeFileSync(file, "version: 1\nplatform: { type: insecure-sim }\n", { mode: 0o644 })
  assert.equal(loadNodeConfig(file)?.platform.type, "insecure-sim")
  for (const mode of [0o664, 0o646]) {
    chmodSync(file, mode)
    assert.throws(() => loadNodeConfig(file), config(/only its owner/))
  }
})
