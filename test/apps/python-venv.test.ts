/** A Python virtual environment on a volume. */
import assert from "node:assert/strict"
import { join } from "node:path"
import { test } from "node:test"
import { lacks, run } from "../support/run.ts"
import { cannotServe, withDaemon } from "../support/volume-daemon.ts"

test(
  "python: a venv with pip is made, used, and works after a new mount",
  {
    skip: cannotServe() || lacks("python3"),
  },
  () =>
    withDaemon({}, async (daemon) => {
      const venv = join(daemon.mount, "venv")
      const python = join(venv, "bin/python")
      run(["python3", "-m", "venv", "--copies", venv])
      const listed = run([join(venv, "bin/pip"), "list", "--disable-pip-version-check"])
      assert.match(listed, /^pip\s+\d/m)
      const program = "import json, sqlite3, ssl, sys; print(json.dumps(sys.prefix))"
      assert.equal(run([python, "-c", program]).trim(), JSON.stringify(venv))
      run([python, "-m", "compileall", "-q", "-f", join(venv, "lib")])
      await daemon.stop()
      await daemon.start()
      assert.equal(run([python, "-c", program]).trim(), JSON.stringify(venv))
      run([python, "-m", "pip", "check", "--disable-pip-version-check"])
      assert.equal(daemon.errors, "")
    }),
)
