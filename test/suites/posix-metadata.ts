import { type PosixCase, python } from "./posix-case.ts"

const acl = `
def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in entries)
NO = 0xffffffff
`

export const metadataCases: readonly PosixCase[] = [
  [
    "modes: all twelve bits, the umask, and no change by a refused user",
    (at) => {
      python(
        at,
        `
write("f")
for mode in (0o0, 0o7777, 0o4755, 0o2755, 0o1644, 0o600): os.chmod("f", mode); assert os.stat("f").st_mode & 0o7777 == mode
old = os.umask(0o027)
os.mkdir("d", 0o777); os.close(os.open("g", os.O_CREAT | os.O_WRONLY, 0o666)); os.mkfifo("p", 0o666)
assert [os.stat(n).st_mode & 0o777 for n in "dgp"] == [0o750, 0o640, 0o640]
os.umask(old)
os.chmod(".", 0o777)
child(lambda: fails(errno.EPERM, os.chmod, "f", 0o777), 1000)
child(lambda: fails(errno.EPERM, os.chown, "f", 1000, 1000), 1000)
`,
      )
    },
  ],

  [
    "permissions: another user reads, writes and enters only what it may",
    (at) => {
      python(
        at,
        `
write("secret", b"s"); os.chmod("secret", 0o600); write("open", b"o"); os.chmod("open", 0o644)
os.mkdir("closed", 0o700); write("closed/f"); os.chmod(".", 0o755)
write("group", b"g"); os.chmod("group", 0o040); os.chown("group", 0, 500)
def stranger():
    fails(errno.EACCES, read, "secret"); assert read("open") == b"o"
    fails(errno.EACCES, write, "open", b"x"); fails(errno.EACCES, os.stat, "closed/f")
    fails(errno.EACCES, write, "new"); fails(errno.EACCES, os.unlink, "open"); fails(errno.EACCES, read, "group")
    assert not os.access("secret", os.R_OK) and os.access("open", os.R_OK) and not os.access("open", os.W_OK)
child(stranger, 1000)
child(lambda: read("group"), 1000, [500])
`,
      )
    },
  ],

  [
    "sticky: only the owner removes and renames",
    (at) => {
      python(
        at,
        `
os.chmod(".", 0o1777)
write("root"); child(lambda: write("mine"), 1000)
def other():
    fails(errno.EPERM, os.unlink, "mine"); fails(errno.EPERM, os.rename, "mine", "x"); write("theirs"); fails(errno.EPERM, os.rename, "theirs", "root")
child(other, 1001)
child(lambda: os.unlink("mine"), 1000)
`,
      )
    },
  ],

  [
    "setgid directories hand down the group, and setgid to directories",
    (at) => {
      python(
        at,
        `
os.mkdir("d"); os.chown("d", 0, 777); os.chmod("d", 0o2777)
def make(): os.umask(0o022); write("d/f"); os.mkdir("d/sub"); os.symlink("x", "d/s"); os.mkfifo("d/p")
os.chmod(".", 0o755); child(make, 1000)
assert [(os.lstat("d/" + n).st_uid, os.lstat("d/" + n).st_gid) for n in ("f", "sub", "s", "p")] == [(1000, 777)] * 4
assert os.stat("d/sub").st_mode & 0o7777 == 0o2755 and os.stat("d/f").st_mode & 0o7777 == 0o644
os.mkdir("e"); os.chmod("e", 0o777); child(lambda: write("e/f"), 1000); assert os.stat("e/f").st_gid == 1000
`,
      )
    },
  ],

  [
    "setuid and setgid go when another user writes, truncates, or the owner changes",
    (at) => {
      python(
        at,
        `
def fresh(mode=0o6777):
    write("f", b"content"); os.chown("f", 0, 0); os.chmod("f", mode)
def bits(): return os.stat("f").st_mode & 0o7777
os.chmod(".", 0o777)
fresh(); child(lambda: write("f", b"x"), 1000); assert bits() == 0o777, oct(bits())
fresh(); child(lambda: os.truncate("f", 1), 1000); assert bits() == 0o777, oct(bits())
fresh(); child(lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)), 1000); assert bits() == 0o777, oct(bits())
fresh(0o6767)
child(lambda: write("f", b"x"), 1000); assert bits() & 0o4000 == 0, oct(bits())
fresh(); os.chown("f", 1000, 1000); assert bits() == 0o777, oct(bits())
fresh(0o2767); os.chown("f", 1000, 1000); assert bits() == 0o2767, oct(bits())
os.mkdir("d"); os.chmod("d", 0o6777); os.chown("d", 1, 1); assert os.stat("d").st_mode & 0o7777 == 0o6777
fresh(); write("f", b"by root"); os.truncate("f", 2); assert bits() == 0o6777, oct(bits())
`,
      )
    },
  ],
  [
    "file capabilities survive reading and go with writing",
    (at) => {
      python(
        at,
        `
cap = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
def fresh(): write("f", b"content"); os.setxattr("f", "security.capability", cap)
fresh(); read("f"); assert os.getxattr("f", "security.capability") == cap
fresh(); write("f", b"x"); fails(errno.ENODATA, os.getxattr, "f", "security.capability")
fresh(); os.chown("f", 5, 5); fails(errno.ENODATA, os.getxattr, "f", "security.capability")
`,
      )
    },
  ],

  [
    "times: nanoseconds, before 1970, far ahead, now and omitted",
    (at) => {
      python(
        at,
        `
write("f"); os.symlink("f", "s")
for t in (1, 1_500_000_000_123_456_789, -1, -10**18 - 7, 2**33 * 10**9 + 5):
    os.utime("f", ns=(t, t + 1)); s = os.stat("f"); assert (s.st_atime_ns, s.st_mtime_ns) == (t, t + 1), (t, s)
before = time.time_ns(); time.sleep(0.01)
os.utime("f"); s = os.stat("f"); assert s.st_mtime_ns >= before and s.st_atime_ns >= before
os.utime("s", ns=(5, 6), follow_symlinks=False)
assert os.lstat("s").st_mtime_ns == 6 and os.stat("f").st_mtime_ns != 6
c = os.stat("f").st_ctime_ns; time.sleep(0.01); os.chmod("f", 0o600); assert os.stat("f").st_ctime_ns > c
c = os.stat("f").st_ctime_ns; time.sleep(0.01); os.link("f", "g"); assert os.stat("f").st_ctime_ns > c
m = os.stat("f").st_mtime_ns; time.sleep(0.01); write("f", b"data"); assert os.stat("f").st_mtime_ns > m
m = os.stat(".").st_mtime_ns; time.sleep(0.01); os.unlink("g"); assert os.stat(".").st_mtime_ns > m
m = os.stat("f").st_mtime_ns; read("f"); os.stat("f"); assert os.stat("f").st_mtime_ns == m
fd = os.open("f", os.O_RDWR); os.write(fd, b"z"); os.utime(fd, ns=(7, 7)); os.close(fd); assert os.stat("f").st_mtime_ns == 7
`,
      )
    },
  ],

  [
    "xattrs: create, replace, list, empty and large values, errors",
    (at) => {
      python(
        at,
        `
write("f"); os.mkdir("d")
for p in ("f", "d"):
    os.setxattr(p, "user.one", b"1"); os.setxattr(p, "user.zero", b""); os.setxattr(p, "user." + "n" * 250, bytes(range(256)))
    os.setxattr(p, "trusted.t", b"t")
    assert set(os.listxattr(p)) == {"user.one", "user.zero", "user." + "n" * 250, "trusted.t"}
    assert os.getxattr(p, "user.zero") == b"" and os.getxattr(p, "user." + "n" * 250) == bytes(range(256))
    fails(errno.EEXIST, os.setxattr, p, "user.one", b"x", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, p, "user.none", b"x", os.XATTR_REPLACE)
    os.setxattr(p, "user.one", b"longer", os.XATTR_REPLACE); assert os.getxattr(p, "user.one") == b"longer"
    os.removexattr(p, "user.one"); fails(errno.ENODATA, os.getxattr, p, "user.one"); fails(errno.ENODATA, os.removexattr, p, "user.one")
    os.setxattr(p, "user.big", b"v" * 2000); assert len(os.getxattr(p, "user.big")) == 2000
small = ctypes.create_string_buffer(3)
assert libc.getxattr(b"f", b"user.big", small, 3) == -1 and ctypes.get_errno() == errno.ERANGE
fails(errno.ERANGE, os.setxattr, "f", "user." + "n" * 251, b""); fails(errno.EOPNOTSUPP, os.setxattr, "f", "nonsense", b"")
os.symlink("f", "s"); fails(errno.EPERM, os.setxattr, "s", "user.x", b"", follow_symlinks=False)
os.chmod(".", 0o755); child(lambda: fails(errno.EACCES, os.setxattr, "f", "user.x", b"1"), 1000)
def names(): assert "user.big" in os.listxattr("f") and "trusted.t" not in os.listxattr("f")
child(names, 1000)
`,
      )
    },
  ],

  [
    "ACLs: enforced, kept in step with the mode, and handed down",
    (at) => {
      python(
        at,
        `${acl}
os.chmod(".", 0o755); write("f", b"x"); os.chmod("f", 0o644)
os.setxattr("f", "system.posix_acl_access", acl((1, 6, NO), (2, 0, 1000), (4, 4, NO), (0x10, 4, NO), (0x20, 4, NO)))
child(lambda: fails(errno.EACCES, read, "f"), 1000); child(lambda: read("f"), 1001)
os.chmod("f", 0o660)
assert os.getxattr("f", "system.posix_acl_access") == acl((1, 6, NO), (2, 0, 1000), (4, 4, NO), (0x10, 6, NO), (0x20, 0, NO))
os.setxattr("f", "system.posix_acl_access", acl((1, 7, NO), (4, 1, NO), (0x20, 2, NO)))
assert os.stat("f").st_mode & 0o777 == 0o712; fails(errno.ENODATA, os.getxattr, "f", "system.posix_acl_access")
os.mkdir("d"); default = acl((1, 7, NO), (2, 7, 1000), (4, 5, NO), (0x10, 7, NO), (0x20, 0, NO))
os.setxattr("d", "system.posix_acl_default", default)
os.umask(0o077); write("d/f"); os.mkdir("d/sub", 0o777)
assert os.stat("d/f").st_mode & 0o777 == 0o640, oct(os.stat("d/f").st_mode)
assert os.getxattr("d/f", "system.posix_acl_access") == acl((1, 6, NO), (2, 7, 1000), (4, 5, NO), (0x10, 4, NO), (0x20, 0, NO))
assert os.getxattr("d/sub", "system.posix_acl_default") == default and os.stat("d/sub").st_mode & 0o777 == 0o770
os.removexattr("d", "system.posix_acl_default"); write("d/g"); assert os.stat("d/g").st_mode & 0o777 == 0o600
`,
      )
    },
  ],
]
