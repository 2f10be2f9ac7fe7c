import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { lacksRun } from "../support/coffer-run.ts"
import { lacksPodman, Podman } from "../support/podman.ts"
import { makeTinyService } from "../support/tiny-service.ts"

test("a hook runs when the node's configuration lists it by path and content, without an environment; else nothing starts", {
  skip: lacksRun() || lacksPodman(),
}, () => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-hooks-"))
  const config = join(folder, "node.yaml")
  const engine = new Podman(folder, {
    COFFER_FROM_SOURCE: "1",
    COFFER_INSECURE_NODE_CONFIG: config,
  })
  try {
    const program = join(folder, "hook.sh")
    writeFileSync(program, `#!/bin/sh\necho "$1,$SPY" >> ${folder}/ran\n`, { mode: 0o755 })
    const sha256 = createHash("sha256").update(readFileSync(program)).digest("hex")
    const node = `version: 1\nplatform: { type: insecure-sim }\n`
    writeFileSync(config, `${node}hooks:\n  - { path: ${program}, sha256: "${sha256}" }\n`)
    const hook = { path: program, args: ["hook", "word"], env: ["SPY=seen"] }
    const stages = { version: "1.0.0", hook, when: { always: true }, stages: ["prestart"] }
    mkdirSync(join(folder, "hooks"))
    writeFileSync(join(folder, "hooks", "one.json"), JSON.stringify(stages))
    engine.load(makeTinyService(folder, "echo started").image, "localhost/hooks:1")
    const [podman = "", ...words] = engine.command("run", "--rm", "localhost/hooks:1")
    const run = () =>
      spawnSync(podman, [`--hooks-dir=${folder}/hooks`, ...words], { encoding: "utf8" })

    const listed = run()
    assert.deepEqual([listed.status, listed.stdout], [0, "started\n"], listed.stderr)
    assert.equal(readFileSync(join(folder, "ran"), "utf8"), "word,\n")

    rmSync(join(folder, "ran"))
    appendFileSync(program, "# changed\n")
    const changed = run()
    assert.notEqual(changed.status, 0)
    assert.match(changed.stderr, /config\.json: hooks: wanted nothing, found/)
    assert.ok(!existsSync(join(folder, "ran")))
  } finally {
    engine.close()
    rmSync(folder, { recursive: true, force: true })
  }
})
