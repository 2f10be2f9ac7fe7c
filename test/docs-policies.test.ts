import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { policyCommand } from "../src/cli/commands/policy.ts"
import { parsePolicy, policyWarnings } from "../src/policy/index.ts"

const text = readFileSync("docs/policies.md", "utf8")
const blocks = (language: string) =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))].map(
    ([, body = ""]) => body,
  )

test("every policy in docs/policies.md is a good one", () => {
  const policies = blocks("yaml")
  assert.equal(policies.length, 3)
  for (const body of policies)
    assert.ok(policyWarnings(parsePolicy(body, "docs/policies.md")).length <= 1)
})

test("every coffer policy command in docs/policies.md exists, with its options", () => {
  const io = {
    env: {},
    terminal: false,
    columns: 80,
    print: () => undefined,
    write: () => undefined,
    warn: () => undefined,
    warnRaw: () => undefined,
    exitCode: 0,
  }
  const commands = new Map(policyCommand(io).commands.map((command) => [command.name(), command]))
  const lines = blocks("sh")
    .join("")
    .split("\n")
    .filter((line) => line.startsWith("coffer policy "))
  assert.ok(lines.length >= 5)
  for (const line of lines) {
    const [, , verb = "", ...rest] = line.replace(/ +#.*/, "").split(" ")
    const known = commands.get(verb)?.options.map(({ long }) => long) ?? []
    assert.ok(commands.has(verb), line)
    for (const word of rest.filter((part) => part.startsWith("--")))
      assert.ok(known.includes(word), line)
  }
})
