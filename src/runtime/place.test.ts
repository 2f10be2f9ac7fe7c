import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { collectStale, isVolumeInUse, makePlace, placeOf, readState, writeState } from "./place.ts"

test("what runc keeps beside the folders of containers is neither read nor removed", () => {
  const base = mkdtempSync(join(tmpdir(), "coffer-place-"))
  try {
    mkdirSync(join(base, "alone", "one"), { recursive: true })
    writeFileSync(join(base, "alone", "one", "state.json"), '{"id":"one","init_process_pid":1}')
    const place = placeOf(base, "/run/runc", "two")
    makePlace(place)
    const known = { id: "two", mrEnclave: "", name: "two", manifest: "{}", volumes: ["p/data"] }
    writeState(place, { ...known, pid: 1, startTime: "long ago" })
    assert.equal(isVolumeInUse(base, "p/data"), false)
    collectStale(base)
    assert.equal(readState(place), undefined)
    assert.ok(readState(join(base, "alone", "one")))
  } finally {
    rmSync(base, { recursive: true })
  }
})
