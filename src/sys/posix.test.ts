import assert from "node:assert/strict"
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { isErrno } from "../errors.ts"
import {
  deviceNumber,
  deviceParts,
  getXattr,
  link,
  listXattrs,
  mknod,
  seekData,
  seekHole,
  setTimes,
  setXattr,
} from "./index.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-posix-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const root = process.getuid?.() === 0

function at(name: string): Buffer {
  return Buffer.from(join(folder, name))
}

test("a failed call throws the system's error with its name, call and path", () => {
  assert.throws(
    () => listXattrs(at("absent")),
    (error) =>
      isErrno(error, "ENOENT") &&
      /ENOENT: no such file or directory, llistxattr '.*absent'/.test(String(error)),
  )
  assert.throws(() => listXattrs(Buffer.from("a\0b")), TypeError)
})

test("xattrs keep names and values byte for byte", () => {
  const path = at("xattrs")
  writeFileSync(path, "")
  const name = Buffer.from([...Buffer.from("user."), 0xff, 0x3d, 0x0a])
  const value = Buffer.from([0, 1, 255, 0])
  setXattr(path, name, value)
  setXattr(path, Buffer.from("user.empty"), new Uint8Array(0))
  const names = listXattrs(path).map((found) => Buffer.from(found).toString("latin1"))
  assert.deepEqual(names.toSorted(), [name.toString("latin1"), "user.empty"].toSorted())
  assert.deepEqual(getXattr(path, name), new Uint8Array(value))
  assert.deepEqual(getXattr(path, Buffer.from("user.empty")), new Uint8Array(0))
  assert.equal(getXattr(path, Buffer.from("user.none")), undefined)
})

test("xattrs of a symlink are its own", { skip: root ? false : "needs root" }, () => {
  const path = at("dangling")
  symlinkSync("nowhere", path)
  setXattr(path, Buffer.from("trusted.mine"), Buffer.from("v"))
  assert.deepEqual(getXattr(path, Buffer.from("trusted.mine")), new Uint8Array([0x76]))
})

test("device numbers pack as the kernel's", () => {
  assert.equal(deviceNumber(8, 1), 0x801n)
  for (const [major, minor] of [
    [0, 0],
    [4095, 1048575],
    [0xfffff, 0xfffff],
    [259, 300],
  ] as const) {
    assert.deepEqual(deviceParts(deviceNumber(major, minor)), { major, minor })
  }
})

test("special nodes", { skip: root ? false : "needs root" }, () => {
  mknod(at("fifo"), "fifo", 0o600)
  mknod(at("socket"), "socket", 0o600)
  mknod(at("char"), "character", 0o600, 259, 300)
  mknod(at("block"), "block", 0o600, 7, 1)
  assert.ok(lstatSync(at("fifo")).isFIFO())
  assert.ok(lstatSync(at("socket")).isSocket())
  const device = lstatSync(at("char"), { bigint: true })
  assert.ok(device.isCharacterDevice())
  assert.deepEqual(deviceParts(device.rdev), { major: 259, minor: 300 })
  assert.ok(lstatSync(at("block")).isBlockDevice())
  assert.throws(
    () => mknod(at("fifo"), "fifo", 0o600),
    (error) => isErrno(error, "EEXIST"),
  )
})

test("times to the nanosecond, of the symlink itself, one at a time", () => {
  const path = at("times")
  symlinkSync("nowhere", path)
  setTimes(path, { mtime: { seconds: 1234567890, nanoseconds: 123456789 } })
  setTimes(path, { atime: { seconds: 1, nanoseconds: 1 } })
  const stat = lstatSync(path, { bigint: true })
  assert.equal(stat.mtimeNs, 1234567890123456789n)
  assert.equal(stat.atimeNs, 1000000001n)
})

test("a link to a symlink is a link to the symlink", () => {
  symlinkSync("nowhere", at("first"))
  link(at("first"), at("second"))
  assert.equal(lstatSync(at("first")).ino, lstatSync(at("second")).ino)
})

test("holes and data are found where they are", () => {
  const fd = openSync(at("sparse"), "w+")
  try {
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 65536)
    ftruncateSync(fd, 1048576)
    assert.equal(seekData(fd, 0), 65536)
    assert.equal(seekHole(fd, 65536), 69632)
    assert.equal(seekData(fd, 69632), undefined)
  } finally {
    closeSync(fd)
  }
})
