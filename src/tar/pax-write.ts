import { type ByteString, bytesOf, concatBytes, utf8 } from "../bytes/index.ts"
import type { Metadata, Timestamp, Xattr } from "../tree/index.ts"
import { aclToText } from "./acl.ts"
import { fitsOctal, fitsText } from "./header-write.ts"
import type { Member, PaxRecord } from "./member.ts"

/** What the ustar header cannot say, in the order of the keys' bytes. */
export function paxRecordsOf(member: Member): PaxRecord[] {
  const records: PaxRecord[] = [...member.extra]
  const add = (key: string, value: Uint8Array | string): void => {
    records.push({ key, value: typeof value === "string" ? utf8(value) : value })
  }
  const { name, linkName, size } = member
  // GNU.sparse.name is there in place of the path.
  const sparse = member.extra.some(({ key }) => key === "GNU.sparse.name")
  if (!fitsText(name, "name") && !sparse) add("path", bytesOf(name))
  if (!fitsText(linkName, "linkName")) add("linkpath", bytesOf(linkName))
  if (!fitsOctal(size, "size")) add("size", String(size))
  // A hard link has no metadata of its own.
  if (member.type !== "1") addMetadata(member.node.meta, add)
  if (records.some(({ key, value }) => nameKeys.has(key) && !isUtf8(value))) {
    add("hdrcharset", "BINARY")
  }
  return records.toSorted((a, b) => (a.key < b.key ? -1 : 1))
}

const nameKeys: ReadonlySet<string> = new Set(["path", "linkpath", "GNU.sparse.name"])

function addMetadata(meta: Metadata, add: (key: string, value: Uint8Array | string) => void): void {
  const { uid, gid, mtime, xattrs } = meta
  if (!fitsOctal(uid, "uid")) add("uid", String(uid))
  if (!fitsOctal(gid, "gid")) add("gid", String(gid))
  if (mtime.nanoseconds !== 0 || !fitsOctal(mtime.seconds, "mtime")) add("mtime", timeText(mtime))
  for (const xattr of xattrs) {
    add(`SCHILY.xattr.${encodeName(xattr.name)}`, xattr.value)
    addAcl(xattr, add)
  }
}

// As GNU tar does: the text for readers that know only that, beside the kernel's form.
function addAcl(
  { name, value }: Xattr,
  add: (key: string, value: Uint8Array | string) => void,
): void {
  const keys: Readonly<Record<string, string>> = {
    "system.posix_acl_access": "SCHILY.acl.access",
    "system.posix_acl_default": "SCHILY.acl.default",
  }
  const key = keys[name]
  const text = key === undefined ? undefined : aclToText(value)
  if (key !== undefined && text !== undefined) add(key, text)
}

// '=' would end the key; '%' marks an escape.
function encodeName(name: ByteString): string {
  return name.replaceAll("%", "%25").replaceAll("=", "%3D")
}

function fraction(nanoseconds: number): string {
  return String(nanoseconds).padStart(9, "0").replace(/0+$/, "")
}

/** Seconds as a decimal fraction; -4.5 is five seconds before 1970 and half a second after that. */
function timeText({ seconds, nanoseconds }: Timestamp): string {
  if (nanoseconds === 0) return String(seconds)
  if (seconds >= 0) return `${seconds}.${fraction(nanoseconds)}`
  return `-${-seconds - 1}.${fraction(1_000_000_000 - nanoseconds)}`
}

const decoder = new TextDecoder("utf-8", { fatal: true })

function isUtf8(bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes)
    return true
  } catch {
    return false
  }
}

export function encodePax(records: readonly PaxRecord[]): Uint8Array {
  return concatBytes(...records.map((record) => encodeRecord(record)))
}

function encodeRecord({ key, value }: PaxRecord): Uint8Array {
  const body = concatBytes(bytesOf(` ${key}=` as ByteString), value, utf8("\n"))
  let size = body.length
  // The length counts its own digits.
  while (size !== body.length + String(size).length) size = body.length + String(size).length
  return concatBytes(utf8(String(size)), body)
}
