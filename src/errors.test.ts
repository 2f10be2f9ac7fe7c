import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { CofferError, type ErrorCode, exitCodeOf, fromSystem, isErrno } from "./errors.ts"

// DESIGN.md section 11: scripts build on these numbers.
const contract: Readonly<Record<ErrorCode, number>> = {
  fault: 1,
  usage: 2,
  config: 2,
  integrity: 3,
  rollback: 4,
  refused: 5,
  missing: 6,
  io: 7,
}

test("each code has the exit code of the contract, and a foreign error is a fault", () => {
  for (const [code, exit] of Object.entries(contract)) {
    assert.equal(exitCodeOf(new CofferError(code as ErrorCode, "x")), exit)
  }
  assert.equal(exitCodeOf(new Error("x")), 1)
  assert.equal(exitCodeOf(undefined), 1)
})

test("the system's errors become ours, in words", () => {
  const error = (() => {
    try {
      readFileSync("/nowhere/at/all")
    } catch (cause) {
      return fromSystem(cause, "the key file /nowhere/at/all", "make one with coffer keygen")
    }
    throw new TypeError("unreachable")
  })()
  assert.ok(error instanceof CofferError)
  assert.equal(error.code, "missing")
  assert.equal(error.message, "the key file /nowhere/at/all: no such file or directory (ENOENT)")
  assert.equal(error.facts["errno"], "ENOENT")
  assert.ok(isErrno(error.cause, "ENOENT"))
  assert.equal(fromSystem(error, "again"), error)
})
