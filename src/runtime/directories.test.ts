import assert from "node:assert/strict"
import { test } from "node:test"
import { dataHome } from "./directories.ts"

test("the folder for data: the user's choice, unless it is relative, else the home's", () => {
  assert.equal(dataHome({ XDG_DATA_HOME: "/data", HOME: "/home/a" }), "/data")
  for (const chosen of [undefined, "", "data", "./data"])
    assert.equal(dataHome({ XDG_DATA_HOME: chosen, HOME: "/home/a" }), "/home/a/.local/share")
})
