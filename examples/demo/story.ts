/** How the demo tells its story: chapters, steps with their outcome, and a summary. A step that does not turn out as said ends the demo. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"

export const coffer = join(import.meta.dirname, "..", "..", "coffer")

const begin = performance.now()
const shown: string[] = []
const undo: (() => void)[] = []

/** A folder that goes at the end, also after an error or ^C. */
export const work = mkdtempSync("/var/tmp/coffer-demo-")
atEnd(() => rmSync(work, { recursive: true, force: true }))

/** Runs when the demo ends, whichever way; the last one registered first. */
export function atEnd(clean: () => void): void {
  undo.push(clean)
}

export function cleanUp(): void {
  for (let clean = undo.pop(); clean !== undefined; clean = undo.pop()) clean()
}

const bold = (text: string) => (process.stdout.isTTY ? `\x1b[1m${text}\x1b[0m` : text)

export function chapter(title: string): void {
  console.log(`\n${bold(title)}`)
}

export interface Ran {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

/** Runs a command as a user would type it, and shows it. */
export function run(
  command: string,
  options: { readonly show?: boolean; readonly input?: string } = {},
): Ran {
  if (options.show !== false)
    console.log(`  $ ${command.replaceAll(coffer, "coffer").replaceAll(work, "DEMO")}`)
  const result = spawnSync("sh", ["-c", command], {
    encoding: "utf8",
    cwd: work,
    input: options.input ?? "",
    maxBuffer: 1 << 28,
  })
  return { status: result.status, out: result.stdout.trim(), err: result.stderr.trim() }
}

/** A command that must work. */
export function must(command: string, options: { readonly show?: boolean } = {}): string {
  const { status, out, err } = run(command, options)
  if (status !== 0) throw new Error(`${command}\nended with ${status}:\n${out}\n${err}`)
  return out
}

/** A command that must be refused with this exit code and this sentence. */
export function refused(command: string, code: number, sentence: RegExp): void {
  const { status, out, err } = run(command)
  if (status !== code || !sentence.test(`${out}\n${err}`)) {
    throw new Error(
      `${command}\nwanted exit code ${code} and ${sentence}, found ${status}:\n${out}\n${err}`,
    )
  }
  const line = `${err}\n${out}`.split("\n").find((text) => sentence.test(text)) ?? ""
  console.log(`    ${line.replaceAll(work, "DEMO").slice(0, 200)}\n    (exit code ${code})`)
}

/** A fact that must hold, and that the summary lists. */
export function show(fact: string, holds: boolean): void {
  if (!holds) throw new Error(`this does not hold: ${fact}`)
  shown.push(fact)
  console.log(`  ✓ ${fact}`)
}

export function summary(): void {
  chapter("What was shown")
  for (const fact of shown) console.log(`  ✓ ${fact}`)
  console.log(
    `\n${shown.length} facts in ${((performance.now() - begin) / 1000).toFixed(0)} seconds.`,
  )
}
