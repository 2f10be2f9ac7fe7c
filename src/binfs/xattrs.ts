import {
  alignUp,
  type ByteString,
  byteString,
  bytesOf,
  Cursor,
  displayName,
} from "../bytes/index.ts"
import type { Xattr } from "../tree/index.ts"

// The index that stands for a name's beginning. ACLs have nothing behind it.
const prefixes: readonly (readonly [index: number, prefix: string])[] = [
  [1, "user."],
  [2, "system.posix_acl_access"],
  [3, "system.posix_acl_default"],
  [4, "trusted."],
  [6, "security."],
]

const headerSize = 12
const entrySize = 4
const maxValueSize = 65_535
const maxNameSize = 255
/** `i_xattr_icount` has 16 bits. */
const maxXattrSize = headerSize + (65_535 - 1) * 4

function prefixOf(name: ByteString): readonly [index: number, prefix: string] | undefined {
  return prefixes.find(([, prefix]) =>
    prefix.endsWith(".") ? name.length > prefix.length && name.startsWith(prefix) : name === prefix,
  )
}

/** What is in the way of storing these xattrs, as wanted and found; undefined when nothing is. */
export function xattrFault(
  xattrs: readonly Xattr[],
): readonly [wanted: string, found: string] | undefined {
  for (const { name, value } of xattrs) {
    const shown = displayName(name)
    const prefix = prefixOf(name)
    if (prefix === undefined)
      return ["xattrs of user, trusted, security, or a POSIX ACL", `the xattr '${shown}'`]
    if (/^(trusted|user)\.overlay\./.test(name))
      return ["no xattr that overlayfs would interpret", `'${shown}'`]
    if (name.length - prefix[1].length > maxNameSize)
      return [`xattr names up to ${maxNameSize} bytes`, `one of ${name.length}`]
    if (value.length > maxValueSize)
      return [`xattr values up to ${maxValueSize} bytes`, `'${shown}' of ${value.length} bytes`]
  }
  const size = xattrsSize(xattrs)
  if (size > maxXattrSize) return [`xattrs of at most ${maxXattrSize} bytes`, `${size} bytes`]
  return undefined
}

/** Bytes that the xattrs take behind their inode. */
export function xattrsSize(xattrs: readonly Xattr[]): number {
  if (xattrs.length === 0) return 0
  return xattrs.reduce(
    (size, { name, value }) =>
      size + alignUp(entrySize + name.length - (prefixOf(name)?.[1].length ?? 0) + value.length, 4),
    headerSize,
  )
}

/** Writes the xattrs into zeroed bytes of the size that `xattrsSize` says. They have no fault (`xattrFault`). */
export function encodeXattrs(target: Uint8Array, xattrs: readonly Xattr[]): void {
  const view = new DataView(target.buffer, target.byteOffset, target.length)
  let at = headerSize
  for (const { name, value } of xattrs) {
    const [index, prefix] = prefixOf(name) ?? [0, ""]
    const rest = bytesOf(name.slice(prefix.length) as ByteString)
    view.setUint8(at, rest.length)
    view.setUint8(at + 1, index)
    view.setUint16(at + 2, value.length, true)
    target.set(rest, at + entrySize)
    target.set(value, at + entrySize + rest.length)
    at += alignUp(entrySize + rest.length + value.length, 4)
  }
}

/** Values are views, not copies. */
export function decodeXattrs(bytes: Uint8Array, nid: number): readonly Xattr[] {
  const cursor = new Cursor(bytes, `binfs xattrs of inode ${nid}`)
  cursor.zeros(headerSize, "header")
  const xattrs: Xattr[] = []
  let last = ""
  while (cursor.remaining > 0) {
    const nameSize = cursor.u8("e_name_len")
    const index = cursor.u8("e_name_index")
    const valueSize = cursor.u16("e_value_size")
    const rest = byteString(cursor.bytes(nameSize, "name"))
    const value = cursor.bytes(valueSize, "value")
    cursor.zeros((4 - (cursor.offset % 4)) % 4, "padding")
    const name = `${prefixes.find(([known]) => known === index)?.[1] ?? ""}${rest}` as ByteString
    if (prefixOf(name)?.[0] !== index || rest.includes("\0"))
      throw cursor.fault("name", "a name with a known prefix", `${index} '${displayName(rest)}'`)
    if (name <= last) throw cursor.fault("order", "names that ascend", `'${displayName(name)}'`)
    last = name
    xattrs.push({ name, value })
  }
  if (xattrs.length === 0) throw cursor.fault("entries", "at least one", "none")
  return xattrs
}
