import { type ByteString, byteString, displayName } from "../bytes/index.ts"
import { tarFault } from "./fault.ts"

export interface PaxRecords {
  readonly values: ReadonlyMap<string, Uint8Array>
  /** `GNU.sparse.offset` and `GNU.sparse.numbytes`, the only keys that repeat, in turn. */
  readonly sparsePairs: readonly number[]
}

export const noRecords: PaxRecords = { values: new Map(), sparsePairs: [] }

const maxRecordCount = 1_000_000
const space = 0x20
const newline = 0x0a
const equals = 0x3d

/** The records `LENGTH KEY=VALUE\n` of an extended header. Keys come once; values are views of `data`. */
export function parsePax(data: Uint8Array, position: number): PaxRecords {
  const values = new Map<string, Uint8Array>()
  const sparsePairs: number[] = []
  let at = 0
  while (at < data.length) {
    const { key, value, end } = recordAt(data, at, position)
    at = end
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      const wanted = sparsePairs.length % 2 === 0 ? "GNU.sparse.offset" : "GNU.sparse.numbytes"
      if (key !== wanted) throw tarFault(position, "tar-sparse", wanted, key)
      sparsePairs.push(decimal(value, key, position))
    } else if (values.has(key)) {
      throw tarFault(position, "tar-extension", "each key once", `a second ${displayName(key)}`)
    } else {
      values.set(key, value)
    }
    if (values.size + sparsePairs.length > maxRecordCount) {
      throw tarFault(position, "tar-extension", `at most ${maxRecordCount} records`, "more")
    }
  }
  return { values, sparsePairs }
}

interface PaxRecord {
  readonly key: ByteString
  readonly value: Uint8Array
  readonly end: number
}

function recordAt(data: Uint8Array, start: number, position: number): PaxRecord {
  let at = start
  let length = 0
  for (let byte = data[at]; byte !== undefined && byte >= 0x30 && byte <= 0x39; byte = data[at]) {
    length = length * 10 + byte - 0x30
    at += 1
    if (at - start > 10) break
  }
  const end = start + length
  if (at === start || data[at] !== space || end > data.length || data[end - 1] !== newline) {
    throw tarFault(position, "tar-extension", "a record LENGTH KEY=VALUE", `none at ${start}`)
  }
  const assign = data.indexOf(equals, at)
  if (assign === -1 || assign >= end - 1 || assign <= at + 1) {
    throw tarFault(position, "tar-extension", "a key and a value", `none at ${start}`)
  }
  const key = byteString(data.subarray(at + 1, assign))
  return { key, value: data.subarray(assign + 1, end - 1), end }
}

/** A size, count or id: decimal digits, a safe integer. */
export function decimal(value: Uint8Array, key: string, position: number): number {
  const text = byteString(value)
  const number = Number(text)
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(number)) {
    const found = `'${displayName(text.slice(0, 40) as ByteString)}'`
    throw tarFault(position, "tar-number", `a number from 0 to 2^53 as ${key}`, found)
  }
  return number
}
