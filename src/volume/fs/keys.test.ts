import assert from "node:assert/strict"
import { test } from "node:test"
import { tableFaults } from "../../bytes/index.ts"
import { extentSize, extentTable, inodeSize, inodeTable } from "./keys.ts"

test("the fields of the index's values touch and add up", () => {
  assert.deepEqual(tableFaults(inodeTable, inodeSize), [])
  assert.deepEqual(tableFaults(extentTable, extentSize), [])
})
