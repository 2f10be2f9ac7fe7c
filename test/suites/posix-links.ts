import assert from "node:assert/strict"
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { fails, inodeOf, linksOf, type PosixCase, python } from "./posix-case.ts"

export const linkCases: readonly PosixCase[] = [
  [
    "link: two names of one file",
    (at) => {
      const [a, b] = [join(at, "a"), join(at, "b")]
      writeFileSync(a, "x")
      linkSync(a, b)
      assert.equal(inodeOf(a), inodeOf(b))
      assert.equal(linksOf(a), 2)
      writeFileSync(b, "longer")
      chmodSync(b, 0o600)
      assert.equal(readFileSync(a, "utf8"), "longer")
      assert.equal(statSync(a).mode & 0o777, 0o600)
      unlinkSync(a)
      assert.equal(linksOf(b), 1)
      fails("EEXIST", () => linkSync(b, b))
      fails("EPERM", () => linkSync(at, join(at, "dir")))
      fails("ENOENT", () => linkSync(a, join(at, "c")))
    },
  ],

  [
    "link: of a symlink links the symlink",
    (at) => {
      python(
        at,
        `
os.symlink("nowhere", "s"); os.link("s", "t", follow_symlinks=False)
assert os.readlink("t") == "nowhere" and os.lstat("s").st_nlink == 2
`,
      )
    },
  ],

  [
    "unlink: an open file stays readable and writable until it is closed",
    (at) => {
      python(
        at,
        `
fd = os.open("a", os.O_RDWR | os.O_CREAT, 0o644)
os.write(fd, b"hello"); os.unlink("a")
fails(errno.ENOENT, os.stat, "a")
os.write(fd, b" world"); os.ftruncate(fd, 20)
assert os.pread(fd, 99, 0) == b"hello world" + bytes(9)
s = os.fstat(fd); assert (s.st_nlink, s.st_size) == (0, 20)
os.fchmod(fd, 0o600); assert os.fstat(fd).st_mode & 0o777 == 0o600
os.fsync(fd)
write("a", b"other"); assert read("a") == b"other"
os.close(fd)
`,
      )
    },
  ],

  [
    "unlink and rmdir refuse what is not theirs",
    (at) => {
      mkdirSync(join(at, "d"))
      writeFileSync(join(at, "d", "f"), "")
      fails("EISDIR", () => unlinkSync(join(at, "d")))
      fails("ENOTEMPTY", () => rmdirSync(join(at, "d")))
      fails("ENOTDIR", () => rmdirSync(join(at, "d", "f")))
      fails("ENOENT", () => unlinkSync(join(at, "none")))
      fails("ENOTDIR", () => statSync(join(at, "d", "f", "x")))
      unlinkSync(join(at, "d", "f"))
      rmdirSync(join(at, "d"))
      assert.equal(linksOf(at), 2)
    },
  ],

  [
    "rmdir: a removed working directory is empty and takes nothing new",
    (at) => {
      python(
        at,
        `
os.mkdir("d"); os.chdir("d"); os.rmdir("../d")
assert os.listdir(".") == []
fails(errno.ENOENT, os.mkdir, "x"); fails(errno.ENOENT, write, "f")
`,
      )
    },
  ],

  [
    "symlink: targets of any bytes up to 4095, loops, dangling",
    (at) => {
      for (const target of [
        "a",
        "x".repeat(59),
        "x".repeat(60),
        "/y".repeat(2000),
        "z".repeat(4095),
      ]) {
        const path = join(at, `l${target.length}`)
        symlinkSync(target, path)
        assert.equal(readlinkSync(path), target)
      }
      const bytes = Buffer.from([0x61, 0xff, 0xfe, 0x0a])
      symlinkSync(bytes, join(at, "bytes"))
      assert.deepEqual(readlinkSync(join(at, "bytes"), "buffer"), bytes)
      symlinkSync("two", join(at, "one"))
      symlinkSync("one", join(at, "two"))
      fails("ELOOP", () => statSync(join(at, "one")))
      fails("EEXIST", () => symlinkSync("x", join(at, "one")))
    },
  ],

  [
    "O_TMPFILE: no name until it is linked",
    (at) => {
      python(
        at,
        `
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b"quiet"); assert os.listdir(".") == [] and os.fstat(fd).st_nlink == 0
check(libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, b"named", 0x400))
os.close(fd)
assert read("named") == b"quiet" and os.stat("named").st_nlink == 1
assert os.stat("named").st_mode & 0o7777 == 0o640 & ~os.umask(0)
fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640); os.write(fd, b"gone"); os.close(fd)
assert os.listdir(".") == ["named"]
`,
      )
    },
  ],
]
