import { byteString, displayName } from "../bytes/index.ts"
import { tarFault } from "./fault.ts"
import type { Header } from "./header.ts"
import { decimal, type PaxRecords } from "./pax.ts"
import type { TarSource } from "./source.ts"
import { checkedRanges, numbersOfMap, readMapInData, readOldMap, type SparseMap } from "./sparse.ts"

export interface SparseFile extends SparseMap {
  /** What the file takes in the tar after its header, maps included, before the padding. */
  readonly storedSize: number
}

/** Where the data of a regular file is, in whatever way its headers say so. `start` is the byte after its header. */
export function sparseFile(
  source: TarSource,
  header: Header,
  pax: PaxRecords,
  start: number,
): SparseFile {
  const { position } = header
  const text = pax.values.get("size")
  const size =
    text === undefined || text.length === 0 ? header.size : decimal(text, "size", position)
  if (header.type === "S") return oldSparseFile(source, header, size, start)
  const format = formatOf(pax, position)
  if (format === "none") {
    const ranges = size === 0 ? [] : [{ offset: 0, size }]
    return { realSize: size, ranges, start, storedSize: size }
  }
  if (format === "1.0") {
    const realSize = required(pax, "GNU.sparse.realsize", position)
    checkStored(source, start, size, position)
    const map = readMapInData(source, start, size, position)
    const ranges = checkedRanges(map.pairs, realSize, size - map.size, position)
    return { realSize, ranges, start: start + map.size, storedSize: size }
  }
  const realSize = required(pax, "GNU.sparse.size", position)
  const map = pax.values.get("GNU.sparse.map")
  const pairs = map === undefined ? pax.sparsePairs : numbersOfMap(map, position)
  const count = required(pax, "GNU.sparse.numblocks", position)
  if (pairs.length !== 2 * count) {
    throw tarFault(position, "tar-sparse", `${count} ranges`, `${pairs.length / 2}`)
  }
  const ranges = checkedRanges(pairs, realSize, size, position)
  return { realSize, ranges, start, storedSize: size }
}

function formatOf({ values, sparsePairs }: PaxRecords, position: number): "none" | "0.x" | "1.0" {
  const major = values.get("GNU.sparse.major")
  if (major !== undefined) {
    const version = `${byteString(major)}.${byteString(values.get("GNU.sparse.minor") ?? major)}`
    if (version === "1.0") return "1.0"
    if (version !== "0.0" && version !== "0.1") {
      const found = displayName(version as ReturnType<typeof byteString>)
      throw tarFault(position, "tar-sparse", "GNU.sparse 0.0, 0.1 or 1.0", found)
    }
  }
  const sparse = major !== undefined || sparsePairs.length > 0 || values.has("GNU.sparse.map")
  return sparse || values.has("GNU.sparse.size") ? "0.x" : "none"
}

function required({ values }: PaxRecords, key: string, position: number): number {
  const value = values.get(key)
  if (value === undefined) throw tarFault(position, "tar-sparse", key, "none")
  return decimal(value, key, position)
}

function checkStored(source: TarSource, start: number, size: number, position: number): void {
  if (start + size <= source.size) return
  const left = `${source.size - start} bytes`
  throw tarFault(position, "tar-truncated", `${size} bytes of data`, left)
}

function oldSparseFile(
  source: TarSource,
  { block, position }: Header,
  size: number,
  start: number,
): SparseFile {
  const map = readOldMap(source, block, start, position)
  const ranges = checkedRanges(map.pairs, map.realSize, size, position)
  return { realSize: map.realSize, ranges, start: start + map.size, storedSize: map.size + size }
}
