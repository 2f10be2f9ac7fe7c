import assert from "node:assert/strict"
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { type PosixCase, python } from "./posix-case.ts"

export const dataCases: readonly PosixCase[] = [
  [
    "data: what is written is read, over frame and page borders",
    (at) => {
      const path = join(at, "f")
      const size = 3_000_001
      const content = Buffer.alloc(size, "Coffer, 17 bytes.")
      writeFileSync(path, content)
      const fd = openSync(path, "r+")
      for (const [offset, length] of [
        [0, 1],
        [4095, 2],
        [65_535, 3],
        [1_048_575, 70_000],
        [size - 5, 5],
      ] as const) {
        const part = Buffer.alloc(length, offset & 0xff)
        writeSync(fd, part, 0, length, offset)
        part.copy(content, offset)
      }
      closeSync(fd)
      assert.ok(readFileSync(path).equals(content))
    },
  ],

  [
    "O_APPEND: two writers lose nothing",
    (at) => {
      python(
        at,
        `
def append(tag):
    fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for i in range(500): assert os.write(fd, f"{tag}{i:07}".encode()) == 8
    os.close(fd)
pids = []
for tag in "ab":
    pid = os.fork()
    if pid == 0: append(tag); os._exit(0)
    pids.append(pid)
for pid in pids: assert os.waitpid(pid, 0)[1] == 0
data = read("log"); lines = [data[i:i + 8] for i in range(0, len(data), 8)]
assert sorted(lines) == sorted(f"{t}{i:07}".encode() for t in "ab" for i in range(500))
fd = os.open("log", os.O_RDWR | os.O_APPEND); os.pread(fd, 1, 0); os.lseek(fd, 0, 0); os.write(fd, b"end")
assert read("log").endswith(b"end") and os.fstat(fd).st_size == 8003
`,
      )
    },
  ],

  [
    "truncate: shorter forgets, longer is zeros, O_TRUNC empties",
    (at) => {
      python(
        at,
        `
write("f", b"x" * 100000)
os.truncate("f", 4100); os.truncate("f", 9000)
assert read("f") == b"x" * 4100 + bytes(4900)
os.truncate("f", 10); os.truncate("f", 200000); assert read("f") == b"x" * 10 + bytes(199990)
fd = os.open("f", os.O_RDWR); os.pwrite(fd, b"y", 150000); os.ftruncate(fd, 150001)
assert os.fstat(fd).st_size == 150001 and os.pread(fd, 9, 149999) == b"\\0y"
os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)); assert os.stat("f").st_size == 0
fails(errno.EINVAL, os.ftruncate, fd, -1); fails(errno.EISDIR, os.truncate, ".", 0)
`,
      )
    },
  ],

  [
    "holes: zeros that take no space",
    (at) => {
      python(
        at,
        `
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"end", 1 << 30); os.fsync(fd)
s = os.fstat(fd); assert s.st_size == (1 << 30) + 3 and s.st_blocks * 512 < 1 << 20, s
assert os.pread(fd, 100, 1 << 29) == bytes(100) and os.pread(fd, 9, (1 << 30) - 2) == b"\\0\\0end"
os.pwrite(fd, b"mid", 1 << 20)
assert os.pread(fd, 5, (1 << 20) - 1) == b"\\0mid\\0"
`,
      )
    },
  ],

  [
    "SEEK_DATA and SEEK_HOLE never hide data",
    (at, limits) => {
      python(
        at,
        `
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b"d" * 65536, 1 << 20); os.ftruncate(fd, 4 << 20)
for synced in (False, True):
    if synced: os.fsync(fd)
    data = os.lseek(fd, 0, os.SEEK_DATA)
    assert data <= 1 << 20 and os.lseek(fd, 1 << 20, os.SEEK_DATA) == 1 << 20
    assert os.lseek(fd, 1 << 20, os.SEEK_HOLE) >= (1 << 20) + 65536
    ${limits.findsHoles ? "assert data == 1 << 20" : "assert os.lseek(fd, 0, os.SEEK_HOLE) == 4 << 20"}
fails(errno.ENXIO, os.lseek, fd, 4 << 20, os.SEEK_DATA)
`,
      )
    },
  ],

  [
    "fallocate: extend, keep the size, punch, zero",
    (at) => {
      python(
        at,
        `
fd = os.open("f", os.O_RDWR | os.O_CREAT)
fallocate(fd, 0, 0, 100000); assert os.fstat(fd).st_size == 100000 and os.pread(fd, 9, 50000) == bytes(9)
os.pwrite(fd, b"x" * 100000, 0)
fallocate(fd, 1, 0, 300000); assert os.fstat(fd).st_size == 100000
fallocate(fd, 3, 4000, 50000); d = os.pread(fd, 100000, 0)
assert d == b"x" * 4000 + bytes(50000) + b"x" * 46000 and os.fstat(fd).st_size == 100000
fallocate(fd, 16, 60000, 10); assert os.pread(fd, 12, 59999) == b"x" + bytes(10) + b"x"
fallocate(fd, 3, 99000, 500000); assert os.fstat(fd).st_size == 100000 and os.pread(fd, 9999, 98999) == b"x" + bytes(1000)
fails(errno.EINVAL, fallocate, fd, 0, 0, 0); fails(errno.EINVAL, fallocate, fd, 0, -1, 5)
os.ftruncate(fd, 200000); assert os.pread(fd, 100000, 100000) == bytes(100000)
`,
      )
    },
  ],

  [
    "mmap: shared writes are in the file, and the file's in the mapping",
    (at) => {
      python(
        at,
        `
write("f", b"a" * 10000)
fd = os.open("f", os.O_RDWR)
m = mmap.mmap(fd, 10000)
m[5000:5003] = b"map"; assert os.pread(fd, 3, 5000) == b"map"
os.pwrite(fd, b"fd", 9000); assert m[9000:9002] == b"fd"
m.flush(); os.fsync(fd); m.close()
assert read("f")[5000:5003] == b"map"
def other():
    with mmap.mmap(os.open("f", os.O_RDWR), 10000) as n: n[0:5] = b"child"
child(other); assert read("f")[:5] == b"child"
p = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE); p[0:2] = b"no"; assert read("f")[:5] == b"child"
`,
      )
    },
  ],

  [
    "O_DIRECT and buffered data agree",
    (at) => {
      python(
        at,
        `
m = mmap.mmap(-1, 1 << 16); m.write(os.urandom(1 << 16)); data = m[:]
fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
assert os.writev(fd, [m]) == 1 << 16
assert read("f") == data
with open("f", "r+b") as f: f.seek(4096); f.write(b"B" * 4096)
back = mmap.mmap(-1, 1 << 16); os.lseek(fd, 0, 0); assert os.readv(fd, [back]) == 1 << 16
assert back[:] == data[:4096] + b"B" * 4096 + data[8192:]
`,
      )
    },
  ],

  [
    "O_SYNC, O_DSYNC, fsync, fdatasync, syncfs, directories too",
    (at) => {
      python(
        at,
        `
for flag in (os.O_SYNC, os.O_DSYNC): write(f"f{flag}", b"x", flag)
fd = os.open("f", os.O_RDWR | os.O_CREAT); os.write(fd, b"y"); os.fsync(fd); os.fdatasync(fd); check(libc.syncfs(fd))
d = os.open(".", os.O_RDONLY); os.fsync(d)
`,
      )
    },
  ],

  [
    "copies: copy_file_range and sendfile",
    (at) => {
      python(
        at,
        `
data = os.urandom(300000); write("a", data)
a = os.open("a", os.O_RDONLY); b = os.open("b", os.O_RDWR | os.O_CREAT); c = os.open("c", os.O_RDWR | os.O_CREAT)
done = 0
while done < 300000: done += os.copy_file_range(a, b, 300000 - done)
assert read("b") == data
done = 0
while done < 300000: done += os.sendfile(c, a, done, 300000 - done)
assert read("c") == data
`,
      )
    },
  ],
]
