/** A part of Python's own test suite in the enclave and in a plain container. All of it: test/soak/enclave-python.soak.ts. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { test } from "node:test"
import { lacksDebian } from "../support/debian.ts"
import { comparePython, pythonSuite } from "../support/python-suite.ts"

const modules = [
  "test_sqlite_modes",
  "test_os",
  "test_tempfile",
  "test_mmap",
  "test_pathlib",
  "test_glob",
  "test_stat",
  "test_fcntl",
]

function lacks(): string | false {
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  if (spawnSync("runc", ["--version"]).status !== 0) return "no runc here"
  return lacksDebian()
}

test("Python's own tests say the same in the enclave, on a volume", {
  skip: lacks(),
  timeout: 600_000,
}, async (t) => {
  const suite = pythonSuite()
  t.after(() => suite.remove())
  await suite.prepare()
  const { count, found } = await comparePython(suite, ["--tempdir=/data/t", ...modules])
  assert.ok(count > 900, `${count} tests`)
  assert.deepEqual(found, [])
})
