/** Random operations on two filesystems at once: the memory model and the one under test. */
import assert from "node:assert/strict"
import type { ByteString } from "../../src/bytes/index.ts"
import type { AttributeChange, Attributes, Caller, FileSystem } from "../../src/fuse/index.ts"

export type Random = (below: number) => number

/** Deterministic from its seed. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below)
  }
}

const noChange: AttributeChange = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  size: undefined,
  atime: undefined,
  mtime: undefined,
  ctime: undefined,
  killPriv: false,
}

export function attributes(): Attributes {
  return {
    inode: 0,
    size: 0,
    blocks: 0,
    mode: 0,
    linkCount: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blockSize: 0,
    atimeSeconds: 0,
    atimeNanoseconds: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    ctimeSeconds: 0,
    ctimeNanoseconds: 0,
  }
}

const aclName = "system.posix_acl_access"
const defaultAclName = "system.posix_acl_default"
// user::rwx, user:7:rw-, group::r-x, mask::rwx, other::r--
const acl = Buffer.from(
  "0200000001000700ffffffff02000600070000000400050 0ffffffff10000700ffffffff20000400ffffffff".replaceAll(
    " ",
    "",
  ),
  "hex",
)
const xattrNames = ["user.a", "user.bb", "security.capability", aclName, defaultAclName]

export interface Limits {
  readonly names: number
  readonly fileSize: number
  readonly writeSize: number
}

/** Drives both; inodes are paired, and an inode without links is held open until it is let go. */
export class Twins {
  readonly model: FileSystem
  tested: FileSystem
  readonly #random: Random
  readonly #limits: Limits
  /** Inodes of the model and what they are in the other; the root first. */
  readonly pairs = new Map<number, number>([[1, 1]])
  readonly #a = attributes()
  readonly #b = attributes()
  readonly #source: Buffer
  last = ""

  constructor(model: FileSystem, tested: FileSystem, random: Random, limits: Limits) {
    this.model = model
    this.tested = tested
    this.#random = random
    this.#limits = limits
    this.#source = Buffer.alloc(limits.writeSize + 4096)
    for (let i = 0; i < this.#source.length; i += 1) this.#source[i] = random(256)
  }

  #inode(): number {
    const all = [...this.pairs.keys()]
    return all[this.#random(all.length)] ?? 1
  }

  #directory(): number {
    for (let i = 0; i < 6; i += 1) {
      const inode = this.#inode()
      this.model.getattr(inode, this.#a)
      if ((this.#a.mode & 0o170000) === 0o040000) return inode
    }
    return 1
  }

  #file(): number {
    for (let i = 0; i < 12; i += 1) {
      const inode = this.#inode()
      this.model.getattr(inode, this.#a)
      if ((this.#a.mode & 0o170000) === 0o100000) return inode
    }
    return 0
  }

  #name(): ByteString {
    const n = this.#random(this.#limits.names)
    return (n === 0 ? "x".repeat(255) : `n${n}\xff`) as ByteString
  }

  #caller(): Caller {
    return { uid: this.#random(2) * 1000, gid: this.#random(3) * 100, pid: 1, umask: 0o22 }
  }

  // The same step on both; results and attributes must agree.
  #both(
    label: string,
    step: (fs: FileSystem, out: Attributes, inode: (model: number) => number) => number,
  ): number {
    this.last = label
    this.#a.inode = 0
    this.#b.inode = 0
    const a = step(this.model, this.#a, (inode) => inode)
    const b = step(this.tested, this.#b, (inode) => this.pairs.get(inode) ?? 0)
    assert.equal(b, a, `${label}: result`)
    if (a !== 0 || this.#a.inode === 0) return a
    const known = this.pairs.get(this.#a.inode)
    if (known !== undefined) assert.equal(this.#b.inode, known, `${label}: inode`)
    else this.pairs.set(this.#a.inode, this.#b.inode)
    assert.deepEqual(plain(this.#b), plain(this.#a), `${label}: attributes`)
    return a
  }

  step(): void {
    const kind = this.#random(20)
    if (kind < 6) this.#names(kind)
    else if (kind < 10) this.#moves(kind)
    else if (kind < 17) this.#contents(kind)
    else this.#properties()
  }

  #names(kind: number): void {
    const parent = this.#directory()
    const name = this.#name()
    const caller = this.#caller()
    const mode = 0o600 + this.#random(0o200) + (this.#random(8) === 0 ? 0o6000 : 0)
    const where = `${parent}/${name.slice(0, 9)}`
    if (kind < 3)
      this.#both(`mknod ${where}`, (fs, out, of) =>
        fs.mknod(of(parent), name, 0o100000 | mode, 0, caller, out),
      )
    else if (kind === 3)
      this.#both(`mkdir ${where}`, (fs, out, of) =>
        fs.mkdir(of(parent), name, mode | 0o100, caller, out),
      )
    else if (kind === 4 && this.#random(4) === 0 && this.#hasLinks(parent))
      this.#both(`tmpfile ${parent}`, (fs, out, of) =>
        fs.tmpfile(of(parent), 0o100000 | mode, caller, out),
      )
    else if (kind === 4)
      this.#both(`symlink ${where}`, (fs, out, of) =>
        fs.symlink(of(parent), name, `to/${mode}` as ByteString, caller, out),
      )
    else {
      const device = 0o020000 | (mode & 0o777)
      this.#both(`mknod device ${where}`, (fs, out, of) =>
        fs.mknod(of(parent), name, device, mode, caller, out),
      )
    }
  }

  #moves(kind: number): void {
    const parent = this.#directory()
    const name = this.#name()
    const newParent = this.#directory()
    const newName = this.#name()
    const flags = [0, 0, 0, 1, 2, 4][this.#random(6)] ?? 0
    if (kind === 6)
      this.#both(`rename ${parent}/${name} ${newParent}/${newName} ${flags}`, (fs, _out, of) =>
        fs.rename(of(parent), name, of(newParent), newName, flags),
      )
    else if (kind === 7) {
      const file = this.#file()
      if (file === 0 || !this.#hasLinks(file)) return
      this.#both(`link ${file} ${parent}/${name}`, (fs, out, of) =>
        fs.link(of(file), of(parent), name, out),
      )
    } else if (kind === 8)
      this.#both(`unlink ${parent}/${name}`, (fs, _out, of) => fs.unlink(of(parent), name))
    else this.#both(`rmdir ${parent}/${name}`, (fs, _out, of) => fs.rmdir(of(parent), name))
    if (this.#random(3) === 0) this.forgetSome()
  }

  #hasLinks(inode: number): boolean {
    this.model.getattr(inode, this.#a)
    return this.#a.linkCount > 0
  }

  /** The kernel lets go of inodes without links. */
  forgetSome(): void {
    for (const [inode, twin] of this.pairs) {
      this.model.getattr(inode, this.#a)
      if (this.#a.linkCount > 0) continue
      this.model.forget(inode)
      this.tested.forget(twin)
      this.pairs.delete(inode)
    }
  }

  #offset(): number {
    const { fileSize } = this.#limits
    const offset = this.#random(fileSize)
    const kind = this.#random(4)
    return kind === 0 ? 0 : kind === 1 ? offset - (offset % 4096) : offset
  }

  #size(): number {
    const { writeSize } = this.#limits
    const kind = this.#random(4)
    return 1 + (kind === 0 ? this.#random(writeSize) : kind === 1 ? 4095 : this.#random(5000))
  }

  #contents(kind: number): void {
    const file = this.#file()
    if (file === 0) return
    const offset = this.#offset()
    const size = this.#size()
    const at = this.#random(4096)
    const where = `${file} ${offset}+${size}`
    if (kind < 13) {
      const kill = this.#random(4) === 0
      this.#both(`write ${where}`, (fs, _out, of) =>
        fs.write(of(file), offset, this.#source, at, size, kill),
      )
    } else if (kind === 13) this.#compareRange(file, offset, size)
    else if (kind === 14) {
      const change = { ...noChange, size: this.#random(4) === 0 ? 0 : offset }
      this.#both(`truncate ${where}`, (fs, out, of) => fs.setattr(of(file), change, out))
    } else {
      const mode = [3, 16, 17, 0, 1][this.#random(5)] ?? 0
      // The kernel removes it before, so the model does not.
      this.#both(`removexattr ${file}`, (fs, _out, of) =>
        fs.removexattr(of(file), "security.capability" as ByteString),
      )
      this.#both(`fallocate ${where} ${mode}`, (fs, _out, of) =>
        fs.fallocate(of(file), offset, size, mode),
      )
    }
  }

  #compareRange(file: number, offset: number, size: number): void {
    const a = Buffer.alloc(size + 64, 1)
    const b = Buffer.alloc(size + 64, 1)
    this.#both(`read ${file} ${offset}+${size}`, (fs, _out, of) =>
      fs.read(of(file), offset, size, fs === this.model ? a : b, 32),
    )
    assert.ok(a.equals(b), `${this.last}: bytes`)
  }

  #properties(): void {
    const inode = this.#inode()
    const name = (xattrNames[this.#random(xattrNames.length)] ?? "") as ByteString
    const kind = this.#random(6)
    if (kind === 0) {
      const change = { ...noChange, mode: this.#random(0o10000) }
      this.#both(`chmod ${inode}`, (fs, out, of) => fs.setattr(of(inode), change, out))
    } else if (kind === 1) {
      const change = { ...noChange, uid: this.#random(3), mtime: { seconds: -5, nanoseconds: 7 } }
      this.#both(`chown ${inode}`, (fs, out, of) => fs.setattr(of(inode), change, out))
    } else if (kind < 5) {
      const value = name.startsWith("system.")
        ? acl
        : this.#source.subarray(0, this.#random(5) === 0 ? 9000 : this.#random(60))
      const flags = this.#random(6) === 0 ? 1 : this.#random(6) === 0 ? 2 : 0
      this.#both(`setxattr ${inode} ${name} ${flags}`, (fs, _out, of) =>
        fs.setxattr(of(inode), name, value, flags, this.last === ""),
      )
    } else
      this.#both(`removexattr ${inode} ${name}`, (fs, _out, of) => fs.removexattr(of(inode), name))
  }

  /** Everything that can be seen is equal. */
  compare(): void {
    for (const [inode, twin] of this.pairs) {
      assert.equal(this.model.getattr(inode, this.#a), 0)
      assert.equal(this.tested.getattr(twin, this.#b), 0, `getattr ${inode}`)
      assert.deepEqual(plain(this.#b), plain(this.#a), `attributes of ${inode}`)
      assert.deepEqual(this.#xattrs(this.tested, twin), this.#xattrs(this.model, inode))
      const type = this.#a.mode & 0o170000
      if (type === 0o040000) this.#compareDirectory(inode, twin)
      else if (type === 0o100000) this.#compareRange(inode, 0, this.#a.size + 10)
      else if (type === 0o120000)
        assert.equal(this.tested.readlink(twin), this.model.readlink(inode))
    }
  }

  #xattrs(fs: FileSystem, inode: number): [ByteString, string][] {
    const names = fs.listxattr(inode)
    assert.ok(typeof names !== "number")
    return names.toSorted().map((name) => {
      const value = fs.getxattr(inode, name)
      assert.ok(typeof value !== "number")
      return [name, Buffer.from(value).toString("hex")]
    })
  }

  #compareDirectory(inode: number, twin: number): void {
    const want = list(this.model, inode)
    const have = list(this.tested, twin)
    assert.deepEqual([...have.keys()].toSorted(), [...want.keys()].toSorted())
    for (const [name, child] of want) {
      // Only whiteouts come into being without an answer that names them.
      if (!this.pairs.has(child)) this.pairs.set(child, have.get(name) ?? 0)
      assert.equal(have.get(name), this.pairs.get(child), `entry ${name} of ${inode}`)
      if (name === "." || name === "..") continue
      assert.equal(this.tested.lookup(twin, name as ByteString, this.#b), 0)
      assert.equal(this.#b.inode, this.pairs.get(child))
    }
  }
}

function list(fs: FileSystem, inode: number): Map<string, number> {
  const out = new Map<string, number>()
  let cookie = 0
  for (let more = true; more; ) {
    more = false
    let room = 3
    fs.readdir(inode, cookie, (name, child, _type, next) => {
      if (room === 0) return false
      room -= 1
      assert.ok(!out.has(name), `${name} twice`)
      out.set(name, child)
      cookie = next
      more = true
      return true
    })
  }
  return out
}

// Times differ by the clock, block counts and sizes of directories by design.
function plain({ size, mode, linkCount, uid, gid, rdev, mtimeSeconds }: Attributes) {
  const directory = (mode & 0o170000) === 0o040000
  return {
    size: directory ? 0 : size,
    mode,
    linkCount,
    uid,
    gid,
    rdev,
    old: mtimeSeconds < 0 ? mtimeSeconds : 0,
  }
}
