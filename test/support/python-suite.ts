import { copyFileSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { InAndOut } from "./in-and-out.ts"

const own = new URL("../compat/", import.meta.url).pathname

/** Outcome by `MODULE TEST`. */
type Outcomes = ReadonlyMap<string, string>

function outcomesOf(printed: string): Outcomes {
  const lines = printed.split("\n").flatMap((line) => {
    const [, test = "", outcome = ""] = /^(\S+ \S+) (ok|skipped|failure|error)$/.exec(line) ?? []
    return test === "" ? [] : [[test, outcome] as const]
  })
  return new Map(lines)
}

/** `TEST: OUTSIDE, in the enclave INSIDE`, where they differ. */
function differences(outside: Outcomes, inside: Outcomes): string[] {
  const names = new Set([...outside.keys(), ...inside.keys()])
  return [...names].toSorted().flatMap((name) => {
    const [want = "none", have = "none"] = [outside.get(name), inside.get(name)]
    return want === have ? [] : [`${name}: ${want}, in the enclave ${have}`]
  })
}

/** Debian's Python with its own test suite. */
export function pythonSuite(): InAndOut {
  return new InAndOut({
    name: "python-suite",
    rootfs: "python3-testsuite",
    program: ["/usr/bin/python3", "/suite/python_suite.py"],
    arguments: ["test_[a-z0-9_]+", "--tempdir=/data/t"],
    fill(layer) {
      const tests = join(layer, "usr/lib/python3.11/test")
      for (const place of [tests, join(layer, "suite")]) mkdirSync(place, { recursive: true })
      copyFileSync(join(own, "python_suite.py"), join(layer, "suite/python_suite.py"))
      copyFileSync(join(own, "test_sqlite_modes.py"), join(tests, "test_sqlite_modes.py"))
    },
  })
}

/** What both print, as far as it differs. */
export async function comparePython(
  suite: InAndOut,
  words: readonly string[],
): Promise<{ readonly count: number; readonly found: readonly string[] }> {
  const [inside, outside] = await suite.both(words)
  const outcomes = outcomesOf(inside)
  return { count: outcomes.size, found: differences(outcomesOf(outside), outcomes) }
}
