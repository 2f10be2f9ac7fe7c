import { concatBytes, utf8 } from "../../src/bytes/index.ts"

// Tars that no writer makes: every field as the test wants it, with a checksum that fits.

const places = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const satisfies Record<string, readonly [number, number]>

type Fields = Partial<Record<keyof typeof places, string>> & { readonly data?: Uint8Array | string }

function latin1(text: string): Uint8Array {
  return Buffer.from(text, "latin1")
}

export function octal(value: number): string {
  return value.toString(8).padStart(11, "0")
}

/** The sum with which a header of 512 bytes is right. */
export function fixChecksum(block: Uint8Array): void {
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.set(utf8(`${sum.toString(8).padStart(6, "0")}\0 `), 148)
}

/** One member: a header, and data with its padding. The size is that of the data unless it is given. */
export function member(fields: Fields): Uint8Array {
  const data = typeof fields.data === "string" ? latin1(fields.data) : (fields.data ?? latin1(""))
  const block = new Uint8Array(512)
  const all = {
    name: "file",
    mode: "0000644",
    uid: "0000000",
    gid: "0000000",
    mtime: octal(0),
    magic: "ustar\x0000",
    type: "0",
    ...fields,
    size: fields.size ?? octal(data.length),
  }
  for (const [name, [offset, size]] of Object.entries(places)) {
    const value = all[name as keyof typeof places]
    if (value !== undefined) block.set(latin1(value).subarray(0, size), offset)
  }
  if (fields.checksum === undefined) fixChecksum(block)
  const padding = new Uint8Array((512 - (data.length % 512)) % 512)
  return concatBytes(block, data, padding)
}

function record(key: string, value: string): string {
  const body = ` ${key}=${value}\n`
  let size = body.length
  while (size !== body.length + String(size).length) size = body.length + String(size).length
  return `${size}${body}`
}

type Pair = readonly [key: string, value: string]

/** An extended header. Give the pairs as a list where a key comes twice. */
export function pax(
  records: Readonly<Record<string, string>> | readonly Pair[],
  type = "x",
): Uint8Array {
  const pairs: readonly Pair[] = isList(records) ? records : Object.entries(records)
  return member({ name: "pax", type, data: pairs.map(([k, v]) => record(k, v)).join("") })
}

function isList(records: object): records is readonly Pair[] {
  return Array.isArray(records)
}

/** The members with the two zero blocks at the end. */
export function rawTar(...members: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...members, new Uint8Array(1024))
}
