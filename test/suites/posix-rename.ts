import assert from "node:assert/strict"
import { mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { directory, fails, inodeOf, linksOf, type PosixCase, python } from "./posix-case.ts"

export const renameCases: readonly PosixCase[] = [
  [
    "rename: a file keeps its inode and content",
    (at) => {
      writeFileSync(join(at, "a"), "one")
      const inode = inodeOf(join(at, "a"))
      renameSync(join(at, "a"), join(at, "b"))
      assert.equal(inodeOf(join(at, "b")), inode)
      assert.equal(readFileSync(join(at, "b"), "utf8"), "one")
      fails("ENOENT", () => statSync(join(at, "a")))
    },
  ],

  [
    "rename: over a file replaces it, and its other names stay",
    (at) => {
      python(
        at,
        `
write("a", b"new"); write("b", b"old"); os.link("b", "c")
os.rename("a", "b")
assert read("b") == b"new" and read("c") == b"old" and os.stat("c").st_nlink == 1
`,
      )
    },
  ],

  [
    "rename: over an open file leaves the reader its content",
    (at) => {
      python(
        at,
        `
write("a", b"new"); write("b", b"old")
fd = os.open("b", os.O_RDONLY)
os.rename("a", "b")
assert os.read(fd, 9) == b"old" and os.fstat(fd).st_nlink == 0
`,
      )
    },
  ],

  [
    "rename: a name onto another name of the same file does nothing",
    (at) => {
      python(
        at,
        `
write("a", b"x"); os.link("a", "b")
os.rename("a", "b")
assert os.stat("a").st_ino == os.stat("b").st_ino and os.stat("a").st_nlink == 2
os.rename("a", "a")
`,
      )
    },
  ],

  [
    "rename: a directory moves with what is in it, and link counts follow",
    (at) => {
      const [one, two] = [directory(at, "one"), directory(at, "two")]
      directory(one, "moved", "below")
      const inode = inodeOf(join(one, "moved", "below"))
      assert.deepEqual([linksOf(one), linksOf(two)], [3, 2])
      renameSync(join(one, "moved"), join(two, "here"))
      assert.deepEqual([linksOf(one), linksOf(two)], [2, 3])
      assert.equal(inodeOf(join(two, "here", "below")), inode)
      assert.equal(inodeOf(join(two, "here", "..")), inodeOf(two))
    },
  ],

  [
    "rename: over an empty directory replaces it, over a full one does not",
    (at) => {
      directory(at, "a", "child")
      directory(at, "empty")
      directory(at, "full", "child")
      fails("ENOTEMPTY", () => renameSync(join(at, "a"), join(at, "full")))
      renameSync(join(at, "a"), join(at, "empty"))
      assert.equal(linksOf(join(at, "empty")), 3)
      assert.equal(linksOf(at), 4)
    },
  ],
  [
    "rename: a directory and a file do not replace each other",
    (at) => {
      writeFileSync(join(at, "file"), "")
      mkdirSync(join(at, "dir"))
      fails("EISDIR", () => renameSync(join(at, "file"), join(at, "dir")))
      fails("ENOTDIR", () => renameSync(join(at, "dir"), join(at, "file")))
    },
  ],

  [
    "rename: a directory does not move below itself",
    (at) => {
      directory(at, "a", "b", "c")
      fails("EINVAL", () => renameSync(join(at, "a"), join(at, "a", "b", "a")))
      fails("EINVAL", () => renameSync(join(at, "a", "b"), join(at, "a", "b", "c", "b")))
      fails("ENOTEMPTY", () => renameSync(join(at, "a", "b", "c"), join(at, "a")))
    },
  ],

  [
    "rename: a symlink itself moves",
    (at) => {
      symlinkSync("nowhere", join(at, "link"))
      renameSync(join(at, "link"), join(at, "other"))
      fails("ENOENT", () => statSync(join(at, "other")))
    },
  ],

  [
    "renameat2: NOREPLACE",
    (at) => {
      python(
        at,
        `
write("a", b"a"); write("b", b"b")
fails(errno.EEXIST, renameat2, "a", "b", 1)
renameat2("a", "c", 1)
assert read("c") == b"a"
`,
      )
    },
  ],

  [
    "renameat2: EXCHANGE, also of a file with a directory",
    (at) => {
      python(
        at,
        `
write("a", b"a"); os.makedirs("d/sub"); os.makedirs("e")
renameat2("a", "d", 2)
assert read("d") == b"a" and os.path.isdir("a/sub")
os.rename("a", "e/a"); write("f", b"f")
renameat2("e/a", "f", 2)
assert os.stat("e").st_nlink == 2 and read("e/a") == b"f" and os.stat("f/..").st_ino == os.stat(".").st_ino
fails(errno.ENOENT, renameat2, "f", "none", 2)
os.mkdir("f/x"); fails(errno.EINVAL, renameat2, "f", "f/x", 2)
`,
      )
    },
  ],

  [
    "rename: changes the times of both directories and of the file's inode",
    (at) => {
      python(
        at,
        `
os.mkdir("a"); os.mkdir("b"); write("a/f")
before = [os.stat(p).st_mtime_ns for p in ("a", "b")] + [os.stat("a/f").st_ctime_ns]
time.sleep(0.02)
os.rename("a/f", "b/f")
after = [os.stat(p).st_mtime_ns for p in ("a", "b")] + [os.stat("b/f").st_ctime_ns]
assert all(x < y for x, y in zip(before, after)), (before, after)
`,
      )
    },
  ],
]
