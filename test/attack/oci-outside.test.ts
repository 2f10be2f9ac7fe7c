import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"

// The kernel's own word for it: while the corpus of hostile images is read, no call that changes a filesystem names a path
// outside of the temporary folder.

const changing =
  "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir," +
  "mknod,mknodat,chmod,fchmodat,chown,lchown,fchownat,truncate,setxattr,lsetxattr,removexattr,utimensat,mount,io_uring_setup"
const main = new URL("../support/hostile/read-all.main.ts", import.meta.url).pathname

function lacksTracer(): string | false {
  return spawnSync("strace", ["-V"]).status === 0 ? false : "no strace here"
}

/** The call with its words, of a line that strace wrote, when it changes something and was not refused. */
function changeOf(line: string): string | undefined {
  const call = /^\d+ +(\w+)\((.*)\) += +(-?\d+)/.exec(line)
  if (call === null || call[3]?.startsWith("-") === true) return undefined
  const [, name = "", words = ""] = call
  const opens = name.startsWith("open")
  return opens && !/O_(WRONLY|RDWR|CREAT|TRUNC)/.test(words) ? undefined : `${name}(${words})`
}

/** The paths of a call, those below a descriptor with the descriptor's. A symlink's target is no place. */
function placesOf(call: string): string[] {
  const words = [...call.matchAll(/(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"/g)]
  const places = words.map(([, folder = "/", path = ""]) =>
    path.startsWith("/") ? path : `${folder}/${path}`,
  )
  return call.startsWith("symlink") ? places.slice(1) : places
}

test("nothing outside of the temporary folder is written", { skip: lacksTracer() }, (t) => {
  const base = mkdtempSync(join(tmpdir(), "outside-"))
  t.after(() => rmSync(base, { recursive: true, force: true }))
  for (const name of ["tmp", "canary"]) mkdirSync(join(base, name))
  const log = join(base, "trace.log")
  const flags = ["--disable-warning=ExperimentalWarning", main, base]
  const traced = ["-f", "-y", "-qq", "-s", "4096", "-e", `trace=${changing}`, "-o", log]
  const done = spawnSync("strace", [...traced, process.execPath, ...flags], {
    encoding: "utf8",
    env: { PATH: process.env["PATH"], TMPDIR: join(base, "tmp"), UV_USE_IO_URING: "0" },
  })
  assert.equal(done.status, 0, done.stderr)
  const changes = readFileSync(log, "utf8")
    .split("\n")
    .flatMap((line) => changeOf(line) ?? [])
  assert.ok(changes.length > 500, `${changes.length}`)
  const allowed = (path: string) => path.startsWith(`${base}/`) || /^\/dev\/(null|tty)$/.test(path)
  const outside = changes.filter(
    (call) => !call.startsWith("io_uring_setup") && !placesOf(call).every(allowed),
  )
  assert.deepEqual(outside, [])
  assert.ok(!changes.some((call) => call.includes("/canary")))
})
