import { Cursor } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"

// ACLs stand in tars as text (`SCHILY.acl.access`), and in the kernel's xattrs as a list of entries: u16 tag, u16
// permissions, u32 id, after a u32 version (include/uapi/linux/posix_acl_xattr.h).

const version = 2
const noId = 0xffffffff
const entrySize = 8

const tags = [
  { tag: 0x01, word: "user", named: false },
  { tag: 0x02, word: "user", named: true },
  { tag: 0x04, word: "group", named: false },
  { tag: 0x08, word: "group", named: true },
  { tag: 0x10, word: "mask", named: false },
  { tag: 0x20, word: "other", named: false },
] as const

interface Entry {
  readonly tag: number
  readonly permissions: number
  readonly id: number
}

/** The xattr's value for a text like `user::rw-,user:1000:r--,…`, in the kernel's order. `undefined` when it is none that the kernel takes. */
export function aclFromText(text: string): Uint8Array | undefined {
  const entries: Entry[] = []
  for (const line of text.split(/[,\n]/)) {
    const words = line.replace(/#.*/, "").trim()
    if (words === "") continue
    const entry = entryFromText(words)
    if (entry === undefined) return undefined
    entries.push(entry)
  }
  const sorted = entries.toSorted((a, b) => a.tag - b.tag || a.id - b.id)
  return isWhole(sorted) ? encode(sorted) : undefined
}

const shortWords: Readonly<Record<string, string>> = {
  u: "user",
  g: "group",
  m: "mask",
  o: "other",
}

// The fourth field is star's: the id where the second is a name, which means nothing on another machine.
function entryFromText(text: string): Entry | undefined {
  const [first = "", second = "", third = "", fourth = ""] = text.split(":")
  const word = shortWords[first] ?? first
  // Two fields for mask and other: `mask:r-x`.
  const short = third === "" && (word === "mask" || word === "other")
  const [qualifier, letters] = short ? ["", second] : [second, third]
  const kind = tags.find((known) => known.word === word && known.named === (qualifier !== ""))
  const permissions = permissionsFromText(letters)
  if (kind === undefined || permissions === undefined) return undefined
  if (!kind.named) return { tag: kind.tag, permissions, id: noId }
  const id = /^[0-9]+$/.test(qualifier) ? qualifier : fourth
  if (!/^[0-9]{1,10}$/.test(id) || Number(id) >= noId) return undefined
  return { tag: kind.tag, permissions, id: Number(id) }
}

function permissionsFromText(text: string): number | undefined {
  if (!/^[r-][w-][x-]$/.test(text)) return undefined
  return (text[0] === "r" ? 4 : 0) + (text[1] === "w" ? 2 : 0) + (text[2] === "x" ? 1 : 0)
}

// acl_valid(3): owner, group and other once; each name once; a mask where there are names.
function isWhole(sorted: readonly Entry[]): boolean {
  const counts = tags.map(({ tag }) => sorted.filter((entry) => entry.tag === tag).length)
  const [owner = 0, users = 0, group = 0, groups = 0, mask = 0, other = 0] = counts
  const unique = new Set(sorted.map(({ tag, id }) => `${tag}:${id}`)).size === sorted.length
  return unique && owner === 1 && group === 1 && other === 1 && (mask === 1 || users + groups === 0)
}

function encode(entries: readonly Entry[]): Uint8Array {
  const out = new Uint8Array(4 + entries.length * entrySize)
  const view = new DataView(out.buffer)
  view.setUint32(0, version, true)
  for (const [i, { tag, permissions, id }] of entries.entries()) {
    const at = 4 + i * entrySize
    view.setUint16(at, tag, true)
    view.setUint16(at + 2, permissions, true)
    view.setUint32(at + 4, id, true)
  }
  return out
}

/** The text for an xattr's value; undefined when the value is none that comes back the same from the text. */
export function aclToText(value: Uint8Array): string | undefined {
  const entries = decode(value)
  if (entries === undefined || !isWhole(entries)) return undefined
  const text = entries.map((entry) => entryToText(entry)).join(",")
  const back = aclFromText(text)
  return back !== undefined && Buffer.compare(back, value) === 0 ? text : undefined
}

function decode(value: Uint8Array): Entry[] | undefined {
  try {
    const cursor = new Cursor(value, "acl")
    if (cursor.u32("version") !== version) return undefined
    const entries: Entry[] = []
    while (cursor.remaining > 0) {
      const [tag, permissions] = [cursor.u16("tag"), cursor.u16("permissions")]
      entries.push({ tag, permissions, id: cursor.u32("id") })
    }
    return entries
  } catch (error) {
    if (error instanceof CofferError) return undefined
    throw error
  }
}

function entryToText({ tag, permissions, id }: Entry): string {
  const kind = tags.find((known) => known.tag === tag)
  const letters = ["r", "w", "x"].map((letter, i) => ((permissions << i) & 4 ? letter : "-"))
  return `${kind?.word ?? "?"}:${kind?.named === true ? id : ""}:${letters.join("")}`
}
