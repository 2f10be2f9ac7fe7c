import assert from "node:assert/strict"
import { mkdirSync, opendirSync, readdirSync, statSync, unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fails, type PosixCase, python } from "./posix-case.ts"

export const directoryCases: readonly PosixCase[] = [
  [
    "names: 255 bytes, any byte, case matters",
    (at) => {
      const names = ["n".repeat(255), "ü".repeat(127), " ", "...", "A", "a", "\n\t\\'\""]
      for (const name of names) writeFileSync(join(at, name), name)
      assert.deepEqual(readdirSync(at).toSorted(), names.toSorted())
      fails("ENAMETOOLONG", () => writeFileSync(join(at, "n".repeat(256)), ""))
      fails("ENAMETOOLONG", () => mkdirSync(join(at, "n".repeat(256))))
      fails("ENAMETOOLONG", () => statSync(join(at, "n".repeat(256))))
      const raw = Buffer.concat([Buffer.from(`${at}/`), Buffer.from([0xff, 0x01, 0x80])])
      writeFileSync(raw, "raw")
      const found = readdirSync(at, "buffer").find((name) => name[0] === 0xff)
      assert.deepEqual(found, raw.subarray(at.length + 1))
    },
  ],

  [
    "directories: link counts, types in listings, dots",
    (at) => {
      python(
        at,
        `
for i in range(10): os.mkdir(f"d{i}")
assert os.stat(".").st_nlink == 12
write("f"); os.symlink("f", "s"); os.mkfifo("p"); os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(300, 70000))
types = {e.name: (e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False), e.is_symlink()) for e in os.scandir(".")}
assert types["d0"] == (True, False, False) and types["f"] == (False, True, False) and types["s"] == (False, False, True)
s = os.stat("c"); assert (os.major(s.st_rdev), os.minor(s.st_rdev)) == (300, 70000)
assert stat.S_ISFIFO(os.stat("p").st_mode)
assert all(e.inode() == os.lstat(e.name).st_ino for e in os.scandir("."))
`,
      )
    },
  ],

  [
    "a large directory: every name once, then gone",
    (at, limits) => {
      python(
        at,
        `
n = ${limits.largeDirectory}
for i in range(n): os.mknod(f"file-{i}", stat.S_IFREG | 0o644)
names = os.listdir(".")
assert len(names) == n and len(set(names)) == n
for name in names: os.unlink(name)
assert os.listdir(".") == []
`,
      )
    },
  ],

  [
    "readdir while entries come and go: what stays is seen exactly once",
    (at) => {
      const stay = Array.from({ length: 3000 }, (_, i) => `stay-${i}`)
      for (const name of stay) writeFileSync(join(at, name), "")
      for (let i = 0; i < 1000; i += 1) writeFileSync(join(at, `go-${i}`), "")
      const seen: string[] = []
      const listing = opendirSync(at, { bufferSize: 16 })
      for (let i = 0; ; i += 1) {
        const entry = listing.readSync()
        if (entry === null) break
        seen.push(entry.name)
        if (i % 4 === 0 && i / 4 < 1000) unlinkSync(join(at, `go-${i / 4}`))
        if (i % 5 === 0 && i < 5000) writeFileSync(join(at, `new-${i}`), "")
      }
      listing.closeSync()
      assert.deepEqual(seen.filter((name) => name.startsWith("stay-")).toSorted(), stay.toSorted())
      assert.equal(new Set(seen).size, seen.length)
    },
  ],

  [
    "readdir: rewind and seek find the same entries",
    (at) => {
      python(
        at,
        `
class dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("reclen", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]
libc.opendir.restype = ctypes.c_void_p; libc.readdir.restype = ctypes.POINTER(dirent); libc.telldir.restype = ctypes.c_long
for i in range(500): write(f"f{i}")
d = ctypes.c_void_p(libc.opendir(b"."))
def rest():
    out = []
    while True:
        e = libc.readdir(d)
        if not e: return out
        out.append((e.contents.name, libc.telldir(d)))
every = rest(); assert len(every) == 502
for at in (0, 1, 250, 499):
    libc.seekdir(d, ctypes.c_long(every[at][1]))
    assert [n for n, _ in rest()] == [n for n, _ in every[at + 1:]]
write("late"); libc.rewinddir(d)
assert len(rest()) == 503
`,
      )
    },
  ],

  [
    "mkdir and exclusive create refuse a name that is there, once only",
    (at) => {
      python(
        at,
        `
os.mkdir("d"); os.symlink("nowhere", "s")
fails(errno.EEXIST, os.mkdir, "d"); fails(errno.EEXIST, os.mkdir, "s")
for name in ("d", "s"): fails(errno.EEXIST, os.open, name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
wins = []
def race():
    for i in range(100):
        try: os.close(os.open(f"r{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)); wins.append(i)
        except FileExistsError: pass
threads = [threading.Thread(target=race) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert sorted(wins) == list(range(100))
fails(errno.ENOTDIR, os.open, "r0/x", os.O_CREAT | os.O_WRONLY); fails(errno.EISDIR, os.open, "d", os.O_WRONLY)
fails(errno.ENOTDIR, os.open, "r0", os.O_DIRECTORY)
`,
      )
    },
  ],
]
