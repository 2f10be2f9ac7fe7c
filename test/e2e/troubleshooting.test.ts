/** What docs/troubleshooting.md lists are messages that the program really has. */
import assert from "node:assert/strict"
import { globSync, readFileSync } from "node:fs"
import { test } from "node:test"

const page = readFileSync("docs/troubleshooting.md", "utf8")
const source = globSync("src/**/*.ts", { exclude: ["**/*.test.ts"] })
  .map((path) => readFileSync(path, "utf8"))
  .join("\n")

/** The fixed words of a heading: `…` is whatever the program puts there, and some sentences are put together of parts. */
function partsOf(message: string): string[] {
  return message
    .split(/…|: wanted |, found |: /)
    .map((part) =>
      part
        .trim()
        .replace(/^[(,;'s]+|[(),;]+$/g, "")
        .trim(),
    )
    .filter((part) => part.length > 3)
}

const headings = [...page.matchAll(/^### (.*)$/gm)].map(([, title = ""]) => title)

test("each heading is a message, in code", () => {
  assert.ok(headings.length > 60)
  for (const title of headings) assert.match(title, /^`[^`]+`$/)
  assert.equal(new Set(headings).size, headings.length)
})

for (const title of headings)
  test(`a message that there is: ${title}`, () => {
    const missing = partsOf(title.slice(1, -1)).filter((part) => !source.includes(part))
    assert.deepEqual(missing, [])
  })

test("each page that it names is there", () => {
  for (const [, path = ""] of page.matchAll(/\]\(([^)#]+)\)/g))
    assert.doesNotThrow(() => readFileSync(new URL(path, `file://${process.cwd()}/docs/`)), path)
})
