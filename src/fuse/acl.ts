/**
 * POSIX ACLs as in the xattrs `system.posix_acl_access` and `system.posix_acl_default`: version 2, then entries of tag,
 * permissions and id. The kernel enforces and validates them; what it leaves to the filesystem is the arithmetic here.
 */
export const aclAccessName = "system.posix_acl_access"
export const aclDefaultName = "system.posix_acl_default"

const version = 2
const headerSize = 4
const entrySize = 8
const tags = { userObj: 0x01, user: 0x02, groupObj: 0x04, group: 0x08, mask: 0x10, other: 0x20 }

interface Located {
  readonly acl: DataView<ArrayBuffer>
  /** Offsets of the permissions of the entries that the mode speaks of. */
  readonly userObj: number
  readonly groupObj: number
  readonly other: number
  readonly mask: number | undefined
  /** No more than user, group and other: the mode says it all. */
  readonly minimal: boolean
}

/** A copy with the places of its entries, or undefined when it is no ACL. */
function locate(bytes: Uint8Array): Located | undefined {
  const acl = new DataView(Uint8Array.from(bytes).buffer)
  const count = (bytes.length - headerSize) / entrySize
  if (!Number.isInteger(count) || count < 3 || acl.getUint32(0, true) !== version) return undefined
  const at = new Map<number, number>()
  for (let i = 0; i < count; i += 1) {
    const offset = headerSize + i * entrySize
    at.set(acl.getUint16(offset, true), offset + 2)
  }
  const userObj = at.get(tags.userObj)
  const groupObj = at.get(tags.groupObj)
  const other = at.get(tags.other)
  if (userObj === undefined || groupObj === undefined || other === undefined) return undefined
  return { acl, userObj, groupObj, other, mask: at.get(tags.mask), minimal: count === 3 }
}

export interface NewFileAcl {
  readonly mode: number
  /** The access ACL to store; undefined when the mode says it all. */
  readonly access: Uint8Array | undefined
}

/** Mode and access ACL of a file that is made in a directory with this default ACL (undefined: none). `mode`: as asked for. */
export function aclForNewFile(
  defaultAcl: Uint8Array | undefined,
  mode: number,
  umask: number,
): NewFileAcl {
  const found = defaultAcl === undefined ? undefined : locate(defaultAcl)
  if (found === undefined) return { mode: mode & ~umask, access: undefined }
  const { acl, userObj, other, minimal } = found
  const groupClass = found.mask ?? found.groupObj
  const user = acl.getUint16(userObj, true) & (mode >> 6) & 7
  const group = acl.getUint16(groupClass, true) & (mode >> 3) & 7
  const others = acl.getUint16(other, true) & mode & 7
  acl.setUint16(userObj, user, true)
  acl.setUint16(groupClass, group, true)
  acl.setUint16(other, others, true)
  return {
    mode: (mode & ~0o777) | (user << 6) | (group << 3) | others,
    access: minimal ? undefined : new Uint8Array(acl.buffer),
  }
}

/** The access ACL after chmod, or undefined when `acl` is none. */
export function aclAfterChmod(access: Uint8Array, mode: number): Uint8Array | undefined {
  const found = locate(access)
  if (found === undefined) return undefined
  found.acl.setUint16(found.userObj, (mode >> 6) & 7, true)
  found.acl.setUint16(found.mask ?? found.groupObj, (mode >> 3) & 7, true)
  found.acl.setUint16(found.other, mode & 7, true)
  return new Uint8Array(found.acl.buffer)
}

/**
 * The mode after an access ACL is set, and whether the ACL says more than the mode (if not, it is not stored, and one
 * that is there is removed). Undefined: no ACL, EINVAL.
 */
export function modeOfAcl(
  access: Uint8Array,
  mode: number,
): { readonly mode: number; readonly minimal: boolean } | undefined {
  const found = locate(access)
  if (found === undefined) return undefined
  const { acl, userObj, groupObj, other, mask, minimal } = found
  const group = acl.getUint16(mask ?? groupObj, true) & 7
  const bits =
    ((acl.getUint16(userObj, true) & 7) << 6) | (group << 3) | (acl.getUint16(other, true) & 7)
  return { mode: (mode & ~0o777) | bits, minimal }
}
