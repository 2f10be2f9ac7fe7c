import { readFileSync } from "node:fs"
import { join } from "node:path"

export interface VectorFrame {
  readonly kind: "data" | "index"
  readonly segment: number
  readonly offset: number
  readonly size: number
  readonly sha256: string
}

export interface VolumeState {
  readonly sequence: number
  readonly tag: string
  readonly state: string
  readonly records: readonly string[]
  readonly frames: readonly VectorFrame[]
}

export interface VectorChange {
  readonly name: string
  readonly layer: string
  readonly file: string
  readonly xorAt?: number
  readonly truncate?: number
  readonly drop?: true
  readonly fails: number | "read"
}

export interface VolumeVector {
  readonly protection: "encrypted" | "authenticated"
  readonly key: string
  readonly files: Readonly<Record<string, string>>
  readonly pin: string
  readonly expect: VolumeState
  readonly changes: readonly VectorChange[]
}

/** A vector of tools/vectors-volume.ts. */
export function volumeVector(name: "encrypted" | "authenticated"): VolumeVector {
  const file = join(import.meta.dirname, "../vectors/volume", `${name}.json`)
  return JSON.parse(readFileSync(file, "utf8")) as VolumeVector
}

/** The vector's files, one of them changed. */
export function filesOf(vector: VolumeVector, change?: VectorChange): Map<string, Buffer> {
  const files = new Map(
    Object.entries(vector.files).map(([name, hex]) => [name, Buffer.from(hex, "hex")]),
  )
  if (change === undefined) return files
  const bytes = files.get(change.file)
  if (bytes === undefined) throw new TypeError(`no file ${change.file}`)
  if (change.drop === true) files.delete(change.file)
  if (change.truncate !== undefined) files.set(change.file, bytes.subarray(0, change.truncate))
  if (change.xorAt !== undefined) bytes[change.xorAt] = (bytes[change.xorAt] ?? 0) ^ 1
  return files
}
