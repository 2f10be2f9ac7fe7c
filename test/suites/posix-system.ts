import { type PosixCase, python } from "./posix-case.ts"

export const systemCases: readonly PosixCase[] = [
  [
    "flock: exclusive between descriptors, shared together",
    (at) => {
      python(
        at,
        `
write("f"); a = os.open("f", os.O_RDWR); b = os.open("f", os.O_RDWR)
fcntl.flock(a, fcntl.LOCK_EX); fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_SH | fcntl.LOCK_NB)
fcntl.flock(a, fcntl.LOCK_SH); fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
fails(errno.EAGAIN, fcntl.flock, a, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(b); fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
`,
      )
    },
  ],

  [
    "fcntl locks: ranges between processes, gone with the process",
    (at) => {
      python(
        at,
        `
write("f", b"0123456789"); fd = os.open("f", os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX, 5, 0)
def other():
    mine = os.open("f", os.O_RDWR)
    try: fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0); raise AssertionError("got it")
    except OSError as e: assert e.errno in (errno.EAGAIN, errno.EACCES)
    fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)
child(other)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 0)
`,
      )
    },
  ],

  [
    "statfs: sizes that add up, names of 255",
    (at) => {
      python(
        at,
        `
s = os.statvfs("."); assert s.f_namemax == 255 and s.f_blocks >= s.f_bfree >= s.f_bavail > 0 and s.f_bsize >= 512
`,
      )
    },
  ],

  [
    "executables run, with setuid bits ignored or not as mounted",
    (at) => {
      python(
        at,
        `
import shutil, subprocess
shutil.copy("/bin/true", "t"); os.chmod("t", 0o755); subprocess.run(["./t"], check=True)
write("script", b"#!/bin/sh\\nexit 7\\n"); os.chmod("script", 0o755); assert subprocess.run(["./script"]).returncode == 7
os.chmod("t", 0o644); fails(errno.EACCES, os.execv, "./t", ["t"])
fd = os.open("script", os.O_RDONLY); os.unlink("script"); assert os.read(fd, 9) == b"#!/bin/sh"
`,
      )
    },
  ],

  [
    "fifos and sockets work on it",
    (at) => {
      python(
        at,
        `
import socket
os.mkfifo("p")
def writer(): write("p", b"through")
t = threading.Thread(target=writer); t.start(); assert read("p") == b"through"; t.join()
s = socket.socket(socket.AF_UNIX); s.bind("sock"); s.listen()
assert stat.S_ISSOCK(os.stat("sock").st_mode)
c = socket.socket(socket.AF_UNIX); c.connect("sock")
`,
      )
    },
  ],

  [
    "many threads: each sees what it wrote",
    (at) => {
      python(
        at,
        `
bad = []
def work(k):
    for i in range(60):
        d = f"t{k}-{i % 5}"; os.makedirs(d, exist_ok=True); data = os.urandom(5000 + i)
        write(f"{d}/a", data, os.O_TRUNC); os.rename(f"{d}/a", f"{d}/b")
        if read(f"{d}/b") != data: bad.append((k, i))
        if i % 3 == 0: os.unlink(f"{d}/b")
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not bad, bad
`,
      )
    },
  ],
]
