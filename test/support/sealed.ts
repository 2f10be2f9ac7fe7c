import { readFileSync } from "node:fs"
import { writeBinfs } from "../../src/binfs/index.ts"
import { utf8OfByteString } from "../../src/bytes/index.ts"
import type { ManifestDraft } from "../../src/manifest/index.ts"
import { signSealed, writeSealed } from "../../src/seal/index.ts"
import { readSigningKey } from "../../src/sgx/index.ts"
import { contentOfBytes, type DirectoryNode, type TreeNode } from "../../src/tree/index.ts"

export const testDraft: ManifestDraft = {
  format: "coffer/manifest/1",
  arch: "x86-64",
  name: "test",
  binary: "/bin/hello",
  argv: ["hello"],
  args: { allow: [] },
  cwd: "/",
  user: { uid: 0, gid: 0, groups: [] },
  env: { set: { LANG: "C" }, allow: {} },
  exec: [],
  stdin: "none",
  readOnly: false,
  debug: false,
  stopSignal: "SIGTERM",
  regions: [],
}

const meta = { mode: 0o755, uid: 0, gid: 0, mtime: { seconds: 1, nanoseconds: 2 }, xattrs: [] }

export function directory(children: Readonly<Record<string, TreeNode>>): DirectoryNode {
  const entries = Object.entries(children)
  return {
    kind: "directory",
    meta,
    children: new Map(entries.map(([name, node]) => [utf8OfByteString(name), node])),
  }
}

export function file(content: string | Uint8Array): TreeNode {
  return { kind: "file", meta, content: contentOfBytes(Uint8Array.from(Buffer.from(content))) }
}

/** Two blocks of data with a hash tree over them: small, and with every part that a sealed binary has. */
export const smallTree = directory({
  bin: directory({ hello: file("#!/bin/sh\necho hello\n"), other: file("other") }),
  etc: directory({ big: file(new Uint8Array(5000).fill(0x62)) }),
})

export const testKey = readSigningKey(
  readFileSync("test/vectors/sgx/test-key.pem", "utf8"),
  "test-key.pem",
)

/** Writes a sealed binary to `path` and returns its bytes. */
export function makeSealed(
  path: string,
  options: {
    readonly draft?: ManifestDraft
    readonly tree?: DirectoryNode
    readonly sign?: boolean
  } = {},
): Uint8Array {
  const tree = options.tree ?? smallTree
  writeSealed(path, options.draft ?? testDraft, (fd, offset) =>
    writeBinfs(tree, fd, offset, { workerCount: 0 }),
  )
  if (options.sign !== false)
    signSealed(path, { key: testKey, isvProdId: 1, isvSvn: 2, date: "20260102" })
  return readFileSync(path)
}
