import { aclAccessName, aclDefaultName } from "./acl.ts"
import { type IdMaps, insideId, nobodysId, outsideId } from "./id-maps.ts"

// Two xattrs have ids in them: ACLs, and file capabilities, which since version 3 say whose user namespace they count in.

const errno = { EINVAL: -22, ENODATA: -61 } as const
const aclHeaderSize = 4
const aclEntrySize = 8
const aclTags = { user: 0x02, group: 0x08 } as const

export const capabilityName = "security.capability"
const capability = {
  versions: 0xff00_0000,
  v2: 0x0200_0000,
  v2Size: 20,
  v3: 0x0300_0000,
  v3Size: 24,
} as const

export function isAcl(name: string): boolean {
  return name === aclAccessName || name === aclDefaultName
}

function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  return new DataView(Uint8Array.from(bytes).buffer)
}

function bytesOf(view: DataView<ArrayBuffer>): Uint8Array {
  return new Uint8Array(view.buffer)
}

/** A stored ACL as the kernel gets it. What is no ACL comes back as it is: the kernel says so. */
export function aclOutside(stored: Uint8Array, maps: IdMaps): Uint8Array {
  const acl = viewOf(stored)
  for (const at of namedEntries(acl)) {
    const id = outsideId(rangesOf(acl, at, maps), acl.getUint32(at + 4, true))
    acl.setUint32(at + 4, id ?? nobodysId, true)
  }
  return bytesOf(acl)
}

/** An ACL of the kernel's as it is stored, or -EINVAL when it names somebody whom the container has not. */
export function aclInside(given: Uint8Array, maps: IdMaps): Uint8Array | number {
  const acl = viewOf(given)
  for (const at of namedEntries(acl)) {
    const id = insideId(rangesOf(acl, at, maps), acl.getUint32(at + 4, true))
    if (id === undefined) return errno.EINVAL
    acl.setUint32(at + 4, id, true)
  }
  return bytesOf(acl)
}

/** Where the entries are that name a user or a group. */
function* namedEntries(acl: DataView): Generator<number> {
  for (let at = aclHeaderSize; at + aclEntrySize <= acl.byteLength; at += aclEntrySize) {
    const tag = acl.getUint16(at, true)
    if (tag === aclTags.user || tag === aclTags.group) yield at
  }
}

function rangesOf(acl: DataView, at: number, { uids, gids }: IdMaps) {
  return acl.getUint16(at, true) === aclTags.user ? uids : gids
}

/**
 * Stored capabilities as the kernel gets them: those that count for root of the container (version 2) are version 3 with
 * the outside name of that root. -ENODATA when they count for nobody in the container.
 */
export function capabilityOutside(stored: Uint8Array, { uids }: IdMaps): Uint8Array | number {
  const found = partsOf(stored)
  if (found === undefined) return stored
  const root = outsideId(uids, found.root)
  if (root === undefined) return errno.ENODATA
  const value = new DataView(new ArrayBuffer(capability.v3Size))
  bytesOf(value).set(stored.subarray(0, capability.v2Size))
  value.setUint32(0, capability.v3 | found.flags, true)
  value.setUint32(capability.v2Size, root, true)
  return bytesOf(value)
}

/** Capabilities of the kernel's as they are stored, or -EINVAL when their root is not in the container. */
export function capabilityInside(given: Uint8Array, { uids }: IdMaps): Uint8Array | number {
  const found = partsOf(given)
  // Version 2 would count for root outside: the kernel never writes it for a process in the container.
  if (found === undefined || found.version === capability.v2) return errno.EINVAL
  const root = insideId(uids, found.root)
  if (root === undefined) return errno.EINVAL
  const value = viewOf(given)
  if (root !== 0) {
    value.setUint32(capability.v2Size, root, true)
    return bytesOf(value)
  }
  value.setUint32(0, (capability.v2 | found.flags) >>> 0, true)
  return bytesOf(value).subarray(0, capability.v2Size)
}

/** Undefined: of another form. */
function partsOf(bytes: Uint8Array) {
  if (bytes.length !== capability.v2Size && bytes.length !== capability.v3Size) return undefined
  const value = viewOf(bytes)
  const magic = value.getUint32(0, true)
  const version = (magic & capability.versions) >>> 0
  const flags = magic & ~capability.versions
  const size = version === capability.v2 ? capability.v2Size : capability.v3Size
  if ((version !== capability.v2 && version !== capability.v3) || bytes.length !== size)
    return undefined
  const root = version === capability.v3 ? value.getUint32(capability.v2Size, true) : 0
  return { version, flags, root }
}
