import assert from "node:assert/strict"
import { test } from "node:test"
import { type ByteString, displayName, utf8, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { formatTrace, mergeTraces, parseTrace, type Trace } from "../shield/index.ts"
import { contentOfBytes, plainDirectory, TreeBuilder, walk } from "../tree/index.ts"
import { type MinimiseInput, minimise } from "./minimise.ts"

function set(paths: readonly string[] = []): Set<ByteString> {
  return new Set(paths.map((path) => utf8OfByteString(path)))
}

function traceOf(parts: Partial<Record<keyof Trace, readonly string[]>>): Trace {
  const { read, looked = read, listed, missed } = parts
  return { read: set(read), looked: set(looked), listed: set(listed), missed: set(missed) }
}

const manifest = { regions: [], binary: "/bin/program", cwd: "/", exec: [] }

/** Files hold their own path; `-> X` is a symlink. */
function treeOf(paths: readonly string[]) {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  for (const path of paths) {
    const [place = "", target] = path.split(" -> ")
    const node =
      target === undefined
        ? ({ kind: "file", meta: plainDirectory, content: contentOfBytes(utf8(place)) } as const)
        : ({ kind: "symlink", meta: plainDirectory, target: utf8OfByteString(target) } as const)
    tree.put(utf8OfByteString(place), node)
  }
  return tree.finish()
}

function kept(paths: readonly string[], input: Partial<MinimiseInput>) {
  const found = minimise(treeOf(paths), { trace: traceOf({}), keep: [], manifest, ...input })
  const names = [...walk(found.root)]
    .filter(({ node }) => node.kind !== "directory")
    .map(({ path }) => displayName(path))
  return { names, coverage: found.coverage }
}

test("what was read or looked at is kept, with its folders, and nothing else", () => {
  const { names, coverage } = kept(
    ["/a/b/read", "/a/b/looked", "/a/other", "/doc/x", "/bin/program"],
    {
      trace: traceOf({
        read: ["/a/b/read"],
        looked: ["/a/b/looked"],
        listed: ["/a"],
        missed: ["/no"],
      }),
    },
  )
  assert.deepEqual(names, ["/a/b/looked", "/a/b/read", "/bin/program"])
  assert.deepEqual(coverage.all, { count: 5, size: 9 + 11 + 8 + 6 + 12 })
  assert.deepEqual(coverage.leftOut, { count: 2, size: 14 })
  assert.deepEqual(coverage.leftOutBelow, [
    { path: "/a", count: 1, size: 8 },
    { path: "/doc", count: 1, size: 6 },
  ])
  assert.deepEqual([coverage.shorterListings, coverage.missed], [["/a"], ["/no"]])
})

test("patterns: names, directories, across directories, no regular expressions", () => {
  const all = ["/etc/ssl/a", "/etc/sslx", "/x/1.so", "/x/1_so", "/x/y/2.so", "/z/é.txt"]
  assert.deepEqual(kept(all, { keep: ["/etc/ssl"] }).names, ["/etc/ssl/a"])
  assert.deepEqual(kept(all, { keep: ["/etc/ssl/"] }).names, ["/etc/ssl/a"])
  assert.deepEqual(kept(all, { keep: ["/x/*.so"] }).names, ["/x/1.so"])
  assert.deepEqual(kept(all, { keep: ["/x/**.so"] }).names, ["/x/1.so", "/x/y/2.so"])
  assert.deepEqual(kept(all, { keep: ["/z/?*.txt"] }).names, ["/z/é.txt"])
  assert.deepEqual(kept(all, { keep: ["/x/.*", "/(etc|x)"] }).names, [])
  assert.equal(kept(all, { keep: ["/"] }).names.length, all.length)
})

test("a symlink brings what it leads to, over other symlinks, and rings end", () => {
  const all = [
    "/lib -> usr/lib",
    "/usr/lib/so -> so.1",
    "/usr/lib/so.1",
    "/ring -> ring",
    "/up -> ../../lib/so",
  ]
  assert.deepEqual(kept(all, { keep: ["/up"] }).names, [
    "/lib",
    "/up",
    "/usr/lib/so",
    "/usr/lib/so.1",
  ])
  assert.deepEqual(kept(all, { keep: ["/ring"] }).names, ["/ring"])
})

test("the manifest declares: program, folder, health checks, what a volume begins with", () => {
  const all = ["/bin/program", "/bin/check", "/data/seed/x", "/store/y", "/work/z"]
  const volume = {
    kind: "volume",
    path: "/data",
    protection: "encrypted",
    volume: "d",
    exec: false,
    seed: true,
  } as const
  const store = {
    kind: "image",
    path: "/store",
    protection: "encrypted",
    store: "s",
    exec: false,
  } as const
  const { names, coverage } = kept(all, {
    manifest: {
      regions: [volume, store],
      binary: "/bin/program",
      cwd: "/work",
      exec: [["/bin/check"]],
    },
  })
  assert.deepEqual(names, ["/bin/check", "/bin/program", "/data/seed/x"])
  assert.equal(coverage.all.count, 4, "stores of their own are not measured files")
  assert.deepEqual(coverage.declared, { count: 3, size: 12 + 10 + 12 })
})

test("a trace is text that comes back the same, whatever the names are", () => {
  const odd = "/\xff\n\\x41 \x1b[2J" as ByteString
  const trace = {
    ...traceOf({ read: ["/é", "/a b"], listed: ["/"], missed: ["/\\x"] }),
    looked: new Set([odd, ...traceOf({ read: ["/é", "/a b"] }).read]),
  }
  const text = formatTrace(trace)
  assert.match(text, /^[^\p{Cc}]+$/mu)
  assert.deepEqual(parseTrace(text, "x"), trace)
  assert.equal(formatTrace(mergeTraces(parseTrace(text, "x"), traceOf({}))), text)
  for (const bad of [
    "",
    "coffer-trace 2\n",
    "coffer-trace 1\nread a\n",
    "coffer-trace 1\nate /a\n",
  ])
    assert.throws(() => parseTrace(bad, "x"), CofferError)
})
