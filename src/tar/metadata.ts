import { type ByteString, byteString, bytesOf, displayName } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { isMachineXattr, type Metadata, type Timestamp, type Xattr } from "../tree/index.ts"
import { aclFromText } from "./acl.ts"
import { tarFault } from "./fault.ts"
import { field, type Header, numberField, parseNumber } from "./header.ts"
import { decimal, type PaxRecords } from "./pax.ts"

// The kernel takes (uid_t)-1 as "no owner".
const maxId = 0xfffffffe
const maxXattrNameSize = 255
const maxXattrSize = 65536

export interface MetadataOptions {
  /** Xattr names that Linux cannot have, as macOS writes them: refuse or leave out. */
  readonly foreignXattrs: "refuse" | "drop"
}

export function metadataOf(
  header: Header,
  global: PaxRecords,
  local: PaxRecords,
  options: MetadataOptions,
): Metadata {
  const { block, position } = header
  const value = (key: string): Uint8Array | undefined => {
    const found = local.values.get(key) ?? global.values.get(key)
    return found === undefined || found.length === 0 ? undefined : found
  }
  const id = (key: "uid" | "gid"): number => {
    const text = value(key)
    const number =
      text === undefined ? numberField(block, key, position) : decimal(text, key, position)
    if (number > maxId) {
      throw tarFault(position, "tar-number", `a ${key} up to ${maxId}`, String(number))
    }
    return number
  }
  const mtime = value("mtime")
  return {
    // Some writers store the file type too.
    mode: header.type === "2" ? 0o777 : numberField(block, "mode", position) & 0o7777,
    uid: id("uid"),
    gid: id("gid"),
    mtime: mtime === undefined ? headerTime(block, position) : paxTime(mtime, position),
    xattrs: xattrsOf(local, position, options),
  }
}

function headerTime(block: Uint8Array, position: number): Timestamp {
  const seconds = parseNumber(field(block, "mtime"))
  if (seconds === undefined) throw tarFault(position, "tar-number", "a time as mtime", "another")
  return { seconds, nanoseconds: 0 }
}

const timeFormat = /^(-?)([0-9]{1,15})(?:\.([0-9]{0,30}))?$/

/** Seconds with a fraction; what is finer than a nanosecond is cut off, towards the past. */
function paxTime(value: Uint8Array, position: number): Timestamp {
  const text = byteString(value)
  const [, sign, whole, fraction = ""] = timeFormat.exec(text) ?? []
  if (whole === undefined) {
    const found = `'${displayName(text.slice(0, 40) as ByteString)}'`
    throw tarFault(position, "tar-number", "a time as mtime", found)
  }
  const seconds = Number(whole)
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, "0"))
  if (sign !== "-") return { seconds, nanoseconds }
  const finer = /[1-9]/.test(fraction.slice(9)) ? 1 : 0
  const back = nanoseconds + finer
  if (back === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds: 0 }
  return { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - back }
}

const none: readonly Xattr[] = []

function xattrsOf(
  { values }: PaxRecords,
  position: number,
  { foreignXattrs }: MetadataOptions,
): readonly Xattr[] {
  const found = new Map<ByteString, Uint8Array>()
  for (const [key, stored] of values) {
    const xattr = xattrOf(key, stored, position)
    if (xattr === undefined || isMachineXattr(xattr.name)) continue
    if (isLinuxName(xattr.name)) addXattr(found, xattr, position)
    else if (foreignXattrs === "refuse") throw foreign(xattr.name, position)
  }
  for (const [key, name] of aclKeys) {
    const text = values.get(key)
    if (text !== undefined && text.length > 0) addAcl(found, name, text, position)
  }
  // An access ACL with no more than owner, group and other says the same as the mode, and the kernel does not keep it.
  if (found.get(accessAcl)?.length === plainAclSize) found.delete(accessAcl)
  if (found.size === 0) return none
  return [...found]
    .map(([name, value]) => ({ name, value }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

const accessAcl = "system.posix_acl_access" as ByteString
const aclKeys = [
  ["SCHILY.acl.access", accessAcl],
  ["SCHILY.acl.default", "system.posix_acl_default" as ByteString],
] as const
const plainAclSize = 4 + 3 * 8

function addXattr(found: Map<ByteString, Uint8Array>, xattr: Xattr, position: number): void {
  const { name, value } = xattr
  if (value.length > maxXattrSize) {
    const size = `${value.length} bytes`
    throw tarFault(position, "tar-extension", `xattrs up to ${maxXattrSize} bytes`, size)
  }
  const other = found.get(name)
  if (other !== undefined && Buffer.compare(other, value) !== 0) {
    const wanted = `one value of ${displayName(name)}`
    throw tarFault(position, "tar-extension", wanted, "two that differ")
  }
  // A copy: a view would keep the whole extended header in memory.
  found.set(name, Uint8Array.from(value))
}

function xattrOf(key: string, value: Uint8Array, position: number): Xattr | undefined {
  if (key.startsWith("SCHILY.xattr.")) {
    return { name: decodeName(key.slice("SCHILY.xattr.".length)), value }
  }
  if (key.startsWith("LIBARCHIVE.xattr.")) {
    const name = decodeName(key.slice("LIBARCHIVE.xattr.".length))
    return { name, value: base64(value, position) }
  }
  return undefined
}

// GNU tar writes names of users and groups in ACLs, even with --numeric-owner; they mean nothing on another machine.
// With --xattrs-include='*' it writes the kernel's form as well, and that one counts.
function addAcl(
  found: Map<ByteString, Uint8Array>,
  name: ByteString,
  text: Uint8Array,
  position: number,
): void {
  const value = aclFromText(byteString(text))
  if (value !== undefined) addXattr(found, { name, value }, position)
  else if (!found.has(name)) throw namedAcl(text, position)
}

function namedAcl(text: Uint8Array, position: number): CofferError {
  const shown = `'${displayName(byteString(text.subarray(0, 100)))}'`
  return new CofferError(
    "config",
    `tar at byte ${position}: wanted an ACL with numeric ids, found ${shown}`,
    {
      hint: "make the tar with --xattrs --xattrs-include='*', which keeps ids in ACLs",
      reason: "tar-acl",
      facts: { offset: position },
    },
  )
}

// GNU tar writes '%' and '=' in names as %25 and %3D; libarchive writes more bytes so.
function decodeName(text: string): ByteString {
  return text.replace(/%([0-9A-Fa-f]{2})/g, decodeByte) as ByteString
}

function decodeByte(_: string, hex: string): string {
  return String.fromCharCode(Number.parseInt(hex, 16))
}

function base64(value: Uint8Array, position: number): Uint8Array {
  const text = byteString(value).replace(/=+$/, "")
  const bytes = Buffer.from(text, "base64")
  if (bytes.toString("base64").replace(/=+$/, "") === text) return bytes
  throw tarFault(position, "tar-extension", "base64 as a LIBARCHIVE.xattr", "another text")
}

function isLinuxName(name: ByteString): boolean {
  const [namespace] = name.split(".", 1)
  if (name.length > maxXattrNameSize || name.includes("\0")) return false
  if (!["user", "trusted", "security", "system"].includes(namespace ?? "")) return false
  return bytesOf(name).length > (namespace ?? "").length + 1
}

function foreign(name: ByteString, position: number): CofferError {
  const shown = displayName(name.slice(0, 100) as ByteString)
  return new CofferError(
    "config",
    `tar at byte ${position}: wanted xattrs that Linux can have, found '${shown}'`,
    {
      hint: "make the tar without it, for example with --xattrs-exclude",
      reason: "tar-xattr",
      facts: { offset: position },
    },
  )
}
