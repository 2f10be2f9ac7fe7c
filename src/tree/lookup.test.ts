import assert from "node:assert/strict"
import { test } from "node:test"
import { type ByteString, utf8, utf8OfByteString } from "../bytes/index.ts"
import { contentOfBytes, lookup, plainDirectory, TreeBuilder, type TreeNode } from "./index.ts"

function b(text: string): ByteString {
  return utf8OfByteString(text)
}

const file: TreeNode = { kind: "file", meta: plainDirectory, content: contentOfBytes(utf8("x")) }

test("lookup follows symlinks as a process in the tree would, and never leaves it", () => {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const link = (target: string) =>
    ({ kind: "symlink", meta: plainDirectory, target: b(target) }) as const
  tree.put(b("usr/bin/python3.11"), file)
  tree.put(b("usr/bin/python3"), link("python3.11"))
  tree.put(b("bin"), link("usr/bin"))
  tree.put(b("up"), link("../../../usr"))
  tree.put(b("loop"), link("/loop"))
  const root = tree.finish()
  for (const path of [
    "/usr/bin/python3.11",
    "/bin/python3",
    "/up/bin/python3",
    "bin/../bin/python3",
  ]) {
    assert.equal(lookup(root, b(path)), file, path)
  }
  assert.equal(lookup(root, b("/usr/../usr/bin/python3")), file)
  assert.equal(lookup(root, b("/..")), root)
  assert.equal(lookup(root, b("/loop")), undefined)
  assert.equal(lookup(root, b("/usr/bin/python3/x")), undefined)
  assert.equal(lookup(root, b("/none/x")), undefined)
})
