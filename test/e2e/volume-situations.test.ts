/** What goes wrong around a volume, at the command line: each a clear sentence, what to do, and its exit code. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { coffer } from "../support/cli.ts"
import { cannotServe, withDaemon } from "../support/volume-daemon.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-situations-"))
const at = (name: string) => join(folder, name)
const key = ["--key-file", at("key")]
const volume = at("volume")
const mounts: string[] = []
const skip = cannotServe()

before(async () => {
  chmodSync(folder, 0o755)
  writeFileSync(at("key"), Buffer.alloc(32, 5))
  for (const name of ["mnt", "tree", "disk", "read-only"]) mkdirSync(at(name))
  writeFileSync(at("tree/file"), "content")
  assert.equal((await coffer("volume", "create", volume, ...key)).code, 0)
  assert.equal((await coffer("volume", "import", volume, at("tree"), ...key)).code, 0)
})

after(() => {
  for (const path of mounts) spawnSync("umount", ["-l", path])
  rmSync(folder, { recursive: true })
})

function mountHere(...args: readonly string[]): void {
  const ran = spawnSync("mount", args, { encoding: "utf8" })
  assert.equal(ran.status, 0, ran.stderr)
  mounts.push(args.at(-1) ?? "")
}

interface Ended {
  readonly code: number | null
  readonly err: string
}

/** `coffer` as a process of its own, started by `prefix`. */
function started(prefix: readonly string[], ...argv: readonly string[]): Ended {
  const node = [process.execPath, "--disable-warning=ExperimentalWarning"]
  const main = join(import.meta.dirname, "../../src/cli/main.ts")
  const [file = "", ...args] = [...prefix, ...node, main, ...argv]
  const ran = spawnSync(file, args, { encoding: "utf8", timeout: 60_000 })
  return { code: ran.status, err: ran.stderr }
}

/** One sentence, which begins in lower case; and where something can be done, what. */
function says({ code, err }: Ended, wanted: number, sentence: RegExp, hint?: RegExp): void {
  assert.equal(code, wanted, err)
  assert.match(err, /^coffer: [a-z/]/m)
  assert.match(err, sentence)
  if (hint !== undefined) assert.match(/^ {2}hint: (.*)$/m.exec(err)?.[1] ?? "", hint)
  assert.doesNotMatch(err, /^ {4}at /m, "no stack")
}

test("the directory is on a disk that is mounted read-only: 7 for a writer, readers are served", {
  skip,
}, async () => {
  mountHere("--bind", volume, at("read-only"))
  mountHere("-o", "remount,ro,bind", at("read-only"))
  const written = await coffer("volume", "import", at("read-only"), at("tree"), ...key)
  says(written, 7, /read-only/, /make its directory writable/)
  const mounted = await coffer("volume", "mount", at("read-only"), at("mnt"), ...key)
  says(mounted, 7, /read-only/, /--read-only/)
  const listed = await coffer("volume", "ls", at("read-only"), ...key)
  assert.equal(listed.code, 0, listed.err)
  assert.match(listed.out.join("\n"), / file$/m)
})

test("no /dev/fuse: 6, and which module to load", { skip }, () => {
  const hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
  const ended = started(hidden, "volume", "mount", volume, at("mnt"), ...key)
  says(ended, 6, /\/dev\/fuse/, /load the kernel module fuse/)
})

test("no right to mount: 6, and how to get it", { skip }, () => {
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
  const own = at("own")
  const made = spawnSync("cp", ["-a", volume, own])
  assert.equal(made.status, 0)
  spawnSync("chown", ["-R", "65534:65534", own])
  chmodSync(at("key"), 0o644)
  const ended = started(nobody, "volume", "mount", own, at("mnt"), ...key)
  says(ended, 6, /wanted the right to mount|\/dev\/fuse/, /root|unshare/)
})

test("a mount point that is not there, or is a file", { skip }, async () => {
  const absent = await coffer("volume", "mount", volume, at("nowhere"), ...key)
  says(absent, 6, /nowhere/, /make the directory/)
  const file = await coffer("volume", "mount", volume, at("tree/file"), ...key)
  says(file, 2, /wanted a directory to mount on/)
})

test("a full disk: 7, what was there stays, and room makes it good", { skip }, async () => {
  mountHere("-t", "tmpfs", "-o", "size=24m", "tmpfs", at("disk"))
  const small = at("disk/volume")
  assert.equal((await coffer("volume", "create", small, ...key)).code, 0)
  assert.equal((await coffer("volume", "import", small, at("tree"), ...key)).code, 0)
  mkdirSync(at("big"))
  writeFileSync(at("big/large"), Buffer.alloc(40 * 1024 * 1024, 1))
  says(await coffer("volume", "import", small, at("big"), ...key), 7, /full|no space/i, /make room/)
  const read = await coffer("volume", "cat", small, "/file", ...key)
  assert.equal(read.out.join(""), "content", read.err)
  assert.equal((await coffer("volume", "verify", small, ...key)).code, 0)
  mountHere("-o", "remount,size=128m", at("disk"))
  renameSync(at("big/large"), at("big/other"))
  const again = await coffer("volume", "import", small, at("big"), ...key)
  assert.equal(again.code, 0, again.err)
  assert.equal((await coffer("volume", "verify", small, ...key)).code, 0)
})

test("names of 255 bytes go in, are listed, and come out; one more is refused by name", {
  skip,
}, async () => {
  const names = ["n".repeat(255), "ü".repeat(127), `${"d".repeat(251)}.txt`]
  mkdirSync(at("names"))
  for (const name of names) writeFileSync(at(`names/${name}`), name)
  assert.equal((await coffer("volume", "import", volume, at("names"), ...key)).code, 0)
  const listed = await coffer("volume", "ls", volume, ...key, "--json")
  const found = (JSON.parse(listed.out.join("")) as { name: string }[]).map(({ name }) => name)
  for (const name of names) assert.ok(found.includes(name))
  assert.equal((await coffer("volume", "export", volume, at("out"), ...key)).code, 0)
  for (const name of names) assert.equal(readFileSync(at(`out/${name}`), "utf8"), name)
  await withDaemon({}, (daemon) => {
    for (const name of names) writeFileSync(join(daemon.mount, name), name)
    for (const name of names) assert.equal(readFileSync(join(daemon.mount, name), "utf8"), name)
    const more = join(daemon.mount, "n".repeat(256))
    assert.throws(() => writeFileSync(more, ""), { code: "ENAMETOOLONG" })
  })
})

test(
  "a volume that is mounted: 7 for a second writer, readers are served its last commit",
  {
    skip,
  },
  () =>
    withDaemon({}, async (daemon) => {
      says(
        await coffer("volume", "mount", daemon.volume, at("mnt"), ...daemon.source),
        7,
        /in use by another process/,
        /stop the other mount/,
      )
      const listed = await coffer("volume", "ls", daemon.volume, ...daemon.source)
      assert.equal(listed.code, 0, listed.err)
    }),
)
