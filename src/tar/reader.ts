// Hot path: one turn for each member of a layer.
import { alignUp, type ByteString, byteString, displayName, isZero } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { badPath, type Content, emptyContent, type LeafNode, maxTargetSize } from "../tree/index.ts"
import type { TarEntry } from "./entry.ts"
import { tarFault } from "./fault.ts"
import { blockSize, type Header, numberField, parseHeader, untilNul } from "./header.ts"
import { metadataOf } from "./metadata.ts"
import { decimal, noRecords, type PaxRecords, parsePax } from "./pax.ts"
import type { TarSource } from "./source.ts"
import { tarContent } from "./sparse.ts"
import { type SparseFile, sparseFile } from "./sparse-file.ts"

export interface TarOptions {
  /**
   * `strict`, the default, for tars that a person gives: two zero blocks at the end and only zeros after them, no
   * absolute names, no second entry for a path, no symlink on the way to one.
   * `layer`, for image layers, whose digest is verified: what container tools accept. The end may be missing, what
   * follows it and global headers are ignored, a leading slash is the root, the last entry of a path wins, symlinks on
   * the way are followed within the tree, and xattrs that Linux does not have are left out.
   */
  readonly dialect?: "strict" | "layer"
}

// What one extended header may hold. Container tools have the same limit.
export const maxExtensionSize = 1024 * 1024
// As ext4. No sum of offset and size can overflow then.
const maxFileSize = 2 ** 44

/** The entries in their order. Throws `CofferError` at the first thing that is wrong. */
export function* readTar(source: TarSource, options: TarOptions = {}): Generator<TarEntry> {
  yield* new Reader(source, options.dialect ?? "strict").entries()
}

/** What extension headers say of the next member. */
interface Pending {
  pax: PaxRecords | undefined
  name: ByteString | undefined
  linkName: ByteString | undefined
}

class Reader {
  readonly #source: TarSource
  readonly #ahead: ReadAhead
  readonly #strict: boolean
  #at = 0
  #global = noRecords
  #pending: Pending = { pax: undefined, name: undefined, linkName: undefined }

  constructor(source: TarSource, dialect: "strict" | "layer") {
    this.#source = source
    this.#ahead = new ReadAhead(source)
    this.#strict = dialect === "strict"
  }

  *entries(): Generator<TarEntry> {
    for (let header = this.#header(); header !== undefined; header = this.#header()) {
      if (this.#extension(header)) continue
      const entry = this.#member(header)
      this.#pending = { pax: undefined, name: undefined, linkName: undefined }
      if (entry !== undefined) yield entry
    }
    const { pax, name, linkName } = this.#pending
    if (pax !== undefined || name !== undefined || linkName !== undefined) {
      throw tarFault(this.#at, "tar-truncated", "the member of an extended header", "the end")
    }
  }

  #header(): Header | undefined {
    const position = this.#at
    const left = this.#source.size - position
    if (left === 0 && !this.#strict) return undefined
    if (left < blockSize) {
      const wanted = "another header, or two zero blocks"
      throw tarFault(position, "tar-truncated", wanted, `the end after ${left} bytes`)
    }
    const block = this.#ahead.block(position)
    this.#at += blockSize
    // A header begins with a name.
    if (block[0] !== 0 || !isZero(block)) return parseHeader(block, position)
    if (this.#strict) this.#end()
    return undefined
  }

  // Other readers may go on after the end, so nothing may stand there that only they would see.
  #end(): void {
    if (this.#at + blockSize > this.#source.size) {
      throw tarFault(this.#at, "tar-truncated", "a second zero block", "the end")
    }
    const buffer = new Uint8Array(64 * 1024)
    while (this.#at < this.#source.size) {
      const part = buffer.subarray(0, Math.min(buffer.length, this.#source.size - this.#at))
      this.#source.read(part, this.#at)
      if (!isZero(part))
        throw tarFault(this.#at, "tar-trailing", "zeros after the end", "more data")
      this.#at += part.length
    }
  }

  /** Takes in what only describes the next member; false when the header is a member itself. */
  #extension(header: Header): boolean {
    const { position, type } = header
    switch (type) {
      case "x":
        this.#once(this.#pending.pax, header)
        this.#pending.pax = parsePax(this.#payload(header), position)
        return true
      case "g":
        if (this.#strict) this.#global = this.#globalRecords(header)
        else this.#payload(header)
        return true
      case "L":
        this.#once(this.#pending.name, header)
        this.#pending.name = untilNul(this.#payload(header))
        return true
      case "K":
        this.#once(this.#pending.linkName, header)
        this.#pending.linkName = untilNul(this.#payload(header))
        return true
      case "V":
        // A volume label, which GNU tar writes first.
        return true
      default:
        return false
    }
  }

  #once(earlier: unknown, { position, type }: Header): void {
    if (earlier === undefined) return
    throw tarFault(position, "tar-extension", `one header of type ${type} a member`, "two")
  }

  #payload(header: Header): Uint8Array {
    if (header.size > maxExtensionSize) {
      const wanted = `an extended header up to ${maxExtensionSize} bytes`
      throw tarFault(header.position, "tar-extension", wanted, `${header.size} bytes`)
    }
    const start = this.#skip(header.size, header)
    const data = new Uint8Array(header.size)
    this.#source.read(data, start)
    return data
  }

  /** Moves past data of that size, and says where it begins. */
  #skip(size: number, header: Header): number {
    const start = this.#at
    const end = start + alignUp(size, blockSize)
    // Only layers may lack the padding of the very last file.
    const whole = this.#strict ? end : start + size
    if (whole > this.#source.size) {
      const left = this.#source.size - start
      throw tarFault(header.position, "tar-truncated", `${size} bytes of data`, `${left} bytes`)
    }
    this.#at = Math.min(end, this.#source.size)
    return start
  }

  // A global path, size or xattr makes no sense, and would let a small tar describe a huge tree.
  #globalRecords(header: Header): PaxRecords {
    const { values } = parsePax(this.#payload(header), header.position)
    const all = new Map(this.#global.values)
    for (const [key, value] of values) {
      if (!globalKeys.has(key)) {
        const wanted = "only owners, times and comments in a global header"
        throw tarFault(header.position, "tar-extension", wanted, displayName(key as ByteString))
      }
      all.set(key, value)
    }
    return { values: all, sparsePairs: [] }
  }

  #member(header: Header): TarEntry | undefined {
    const { position, type } = header
    const pax = this.#pending.pax ?? noRecords
    checkCharset(pax, position)
    const fromPax = recordName(pax, "GNU.sparse.name") ?? recordName(pax, "path")
    const stored = fromPax ?? this.#pending.name ?? header.name
    const path = this.#path(stored, header)
    const isDirectory = type === "5" || (type === "\0" && stored.endsWith("/"))
    if (isDirectory) {
      this.#noData(header, pax)
      return { kind: "directory", path, meta: this.#meta(header, pax) }
    }
    if (stored.endsWith("/")) {
      throw badPath(stored, "tar-name", "a directory by a name with a slash", `type ${type}`)
    }
    if (type === "1") {
      this.#noData(header, pax)
      return { kind: "link", path, target: this.#path(this.#linkName(header, pax), header) }
    }
    return { kind: "leaf", path, node: this.#leaf(header, pax) }
  }

  #leaf(header: Header, pax: PaxRecords): LeafNode {
    const { position, type } = header
    const meta = this.#meta(header, pax)
    switch (type) {
      case "0":
      case "\0":
      case "7":
      case "S":
        return { kind: "file", meta, content: this.#content(header, pax) }
      case "2":
        this.#noData(header, pax)
        return { kind: "symlink", meta, target: symlinkTarget(this.#linkName(header, pax), header) }
      case "3":
      case "4":
        this.#noData(header, pax)
        return { kind: type === "3" ? "character" : "block", meta, ...deviceOf(header) }
      case "6":
        this.#noData(header, pax)
        return { kind: isSocket(pax) ? "socket" : "fifo", meta }
      default:
        throw tarFault(
          position,
          "tar-unsupported",
          "a file, directory, link, device or fifo",
          `type '${displayName(type as ByteString)}'`,
        )
    }
  }

  #meta(header: Header, pax: PaxRecords): ReturnType<typeof metadataOf> {
    const foreignXattrs = this.#strict ? "refuse" : "drop"
    return metadataOf(header, this.#global, pax, { foreignXattrs })
  }

  #content(header: Header, pax: PaxRecords): Content {
    const found: SparseFile = sparseFile(this.#source, header, pax, this.#at)
    this.#skip(found.storedSize, header)
    if (found.realSize > maxFileSize) {
      const wanted = `a file up to ${maxFileSize} bytes`
      throw tarFault(header.position, "tar-number", wanted, `${found.realSize} bytes`)
    }
    return found.realSize === 0 ? emptyContent : tarContent(this.#source, found)
  }

  // Readers do not agree on whether data follows such a header, so there must be none. Container tools skip none.
  #noData(header: Header, pax: PaxRecords): void {
    const text = pax.values.get("size")
    const size = text === undefined ? header.size : decimal(text, "size", header.position)
    if (size === 0 || !this.#strict) return
    const wanted = `no data for type ${header.type}`
    throw tarFault(header.position, "tar-header", wanted, `${size} bytes`)
  }

  #linkName(header: Header, pax: PaxRecords): ByteString {
    return recordName(pax, "linkpath") ?? this.#pending.linkName ?? header.linkName
  }

  /** The names of a path without what means nothing in it; `..` and NUL are left for the builder to refuse. */
  #path(stored: ByteString, { position }: Header): ByteString {
    if (stored === "") throw tarFault(position, "tar-header", "a name", "none")
    if (stored.startsWith("/") && this.#strict) {
      throw badPath(stored, "absolute", "a relative name", "an absolute one")
    }
    if (!/^\.?\/|\/\.?\/|\/$|\/\.$|^\.$/.test(stored)) return stored
    const names = stored.split("/").filter((name) => name !== "" && name !== ".")
    return names.join("/") as ByteString
  }
}

/** Small files are many: with a header, those of the next ones are read. */
const aheadSize = 16 * 1024

class ReadAhead {
  readonly #source: TarSource
  readonly #buffer = Buffer.alloc(aheadSize)
  #start = 0
  #size = 0

  constructor(source: TarSource) {
    this.#source = source
  }

  /** The block at `position`, which lies in the source; good until the next call. */
  block(position: number): Buffer {
    if (position < this.#start || position + blockSize > this.#start + this.#size) {
      this.#size = Math.min(aheadSize, this.#source.size - position)
      this.#start = position
      this.#source.read(this.#buffer.subarray(0, this.#size), position)
    }
    return this.#buffer.subarray(position - this.#start, position - this.#start + blockSize)
  }
}

const globalKeys: ReadonlySet<string> = new Set([
  "atime",
  "charset",
  "comment",
  "ctime",
  "gid",
  "gname",
  "hdrcharset",
  "mtime",
  "uid",
  "uname",
])

function recordName(pax: PaxRecords, key: string): ByteString | undefined {
  const value = pax.values.get(key)
  return value === undefined || value.length === 0 ? undefined : byteString(value)
}

// Names are bytes here, so the character set changes nothing; an unknown one may want to.
function checkCharset({ values }: PaxRecords, position: number): void {
  const value = values.get("hdrcharset")
  if (value === undefined) return
  const charset = byteString(value)
  if (["", "BINARY", "ISO-IR 10646 2000 UTF-8"].includes(charset)) return
  throw tarFault(position, "tar-unsupported", "UTF-8 or BINARY as hdrcharset", displayName(charset))
}

// Tars have no sockets. Our writer makes a fifo with star's record of the real type.
function isSocket({ values }: PaxRecords): boolean {
  const value = values.get("SCHILY.filetype")
  return value !== undefined && byteString(value) === "socket"
}

function symlinkTarget(target: ByteString, { position }: Header): ByteString {
  const problem =
    target === "" ? "none" : target.includes("\0") ? "one with NUL" : `${target.length} bytes`
  if (target !== "" && !target.includes("\0") && target.length <= maxTargetSize) return target
  throw new CofferError(
    "config",
    `tar at byte ${position}: wanted a symlink target of 1 to ${maxTargetSize} bytes, found ${problem}`,
    { reason: "bad-target", facts: { offset: position } },
  )
}

function deviceOf({ block, position }: Header): { major: number; minor: number } {
  const major = numberField(block, "major", position)
  const minor = numberField(block, "minor", position)
  // As the kernel: 12 bits and 20 bits.
  if (major > 0xfff || minor > 0xfffff) {
    throw tarFault(position, "tar-number", "device numbers that Linux has", `${major}:${minor}`)
  }
  return { major, minor }
}
