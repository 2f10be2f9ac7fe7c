import assert from "node:assert/strict"
import { test } from "node:test"
import { tableFaults } from "../../bytes/index.ts"
import { extentSize, extentTable, shortExtentSize, shortExtentTable } from "./keys.ts"

test("the fields of the index's values touch and add up", () => {
  assert.deepEqual(tableFaults(extentTable, extentSize), [])
  assert.deepEqual(tableFaults(shortExtentTable, shortExtentSize), [])
})
