import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { lstatSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"

/** What a filesystem is allowed to lack; docs/posix.md gives the reasons. */
export interface PosixLimits {
  /** SEEK_HOLE finds holes (else the whole file is data, which POSIX allows). */
  readonly findsHoles: boolean
  /** Entries of the large directory. */
  readonly largeDirectory: number
}

/** `at` is an empty directory, removed afterwards. */
export type PosixCase = readonly [name: string, body: (at: string, limits: PosixLimits) => void]

export function runCase(place: string, body: PosixCase[1], limits: PosixLimits): void {
  const at = mkdtempSync(join(place, "case-"))
  try {
    body(at, limits)
  } finally {
    rmSync(at, { recursive: true, force: true })
  }
}

/** The call fails with that errno name. */
export function fails(code: string, call: () => unknown): void {
  assert.throws(call, (error) => (error as NodeJS.ErrnoException).code === code, `wanted ${code}`)
}

export function inodeOf(path: string): number {
  return lstatSync(path).ino
}

export function linksOf(path: string): number {
  return lstatSync(path).nlink
}

export function directory(...parts: string[]): string {
  const path = join(...parts)
  mkdirSync(path, { recursive: true })
  return path
}

const prelude = `
import ctypes, errno, fcntl, mmap, os, stat, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def fails(want, call, *args, **kw):
    try:
        call(*args, **kw)
    except OSError as e:
        assert e.errno == want, f"wanted {errno.errorcode[want]}, found {errno.errorcode[e.errno]}"
        return
    raise AssertionError(f"wanted {errno.errorcode[want]}, found success")
def check(result):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return result
def renameat2(a, b, flags):
    check(libc.renameat2(-100, a.encode(), -100, b.encode(), flags))
def fallocate(fd, mode, offset, size):
    check(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(size)))
def write(path, data=b"", flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
def read(path):
    with open(path, "rb") as f:
        return f.read()
def child(body, uid=0, groups=()):
    pid = os.fork()
    if pid == 0:
        try:
            if uid:
                os.setgroups(list(groups)); os.setgid(uid); os.setuid(uid)
            body()
            os._exit(0)
        except BaseException as e:
            print(f"in the child: {e!r}", file=sys.stderr)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
`

/** Runs a Python script in the directory: for system calls that Node does not have. */
export function python(cwd: string, script: string): void {
  const { status, stderr } = spawnSync("python3", ["-B", "-c", prelude + script], {
    cwd,
    encoding: "utf8",
    timeout: 60_000,
  })
  assert.equal(status, 0, stderr)
}
