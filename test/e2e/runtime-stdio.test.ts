import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { lacksRun } from "../support/coffer-run.ts"
import { lacksPodman, Podman } from "../support/podman.ts"
import { makeTinyService } from "../support/tiny-service.ts"

const script = `
if [ -t 0 ]; then echo "terminal $(stty size)"; else echo "stdin $(cat)"; fi
echo oops >&2
exit 3`

let folder = ""
let engine: Podman

function run(options: readonly string[], image: string, input = "") {
  const [program = "", ...words] = engine.command("run", "--rm", ...options, `localhost/${image}:1`)
  return spawnSync(program, words, { encoding: "utf8", input, timeout: 120_000 })
}

void describe("standard input and terminal", { skip: lacksRun() || lacksPodman() }, () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "coffer-stdio-"))
    engine = new Podman(folder, { COFFER_FROM_SOURCE: "1" })
    for (const stdin of ["inherit", "none"] as const) {
      const { image } = makeTinyService(join(folder, stdin), script, { stdin })
      engine.load(image, `localhost/${stdin}:1`)
    }
  })
  after(() => {
    engine.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test("stdin: inherit lets them in; output, errors and status come out", () => {
    const { status, stdout, stderr } = run(["-i"], "inherit", "from the host")
    assert.deepEqual([status, stdout, stderr], [3, "stdin from the host\n", "oops\n"])
  })

  test("a terminal is passed through, with its size", () => {
    const { status, stdout, stderr } = run(["-t"], "inherit")
    assert.equal(status, 3, stderr)
    assert.match(stdout, /^terminal \d+ \d+\r\noops\r\n$/)
  })

  test("stdin: none keeps both out", () => {
    const { status, stdout } = run(["-i"], "none", "from the host")
    assert.deepEqual([status, stdout], [3, "stdin \n"])
    const terminal = run(["-t"], "none")
    assert.notEqual(terminal.status, 3)
    assert.match(
      terminal.stdout + terminal.stderr,
      /process\.terminal: wanted no terminal, since the measured manifest lets no standard input in/,
    )
  })
})
