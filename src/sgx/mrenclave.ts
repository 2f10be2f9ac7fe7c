import { Sha256 } from "../crypto/index.ts"

export const pageSize = 4096
export const chunkSize = 256
export const recordSize = 64

/** Sizes are numbers here: a power of two up to this. Real processors allow less. */
export const maxEnclaveSize = 2 ** 52

/** SECINFO.FLAGS: permissions and page type. */
export const pageFlags = {
  r: 0x001,
  w: 0x002,
  x: 0x004,
  tcs: 0x100,
  reg: 0x200,
  shadowStackFirst: 0x500,
  shadowStackRest: 0x600,
} as const

export type PageFlags = number

/** Gets every byte that is measured, in order: the canonical `.sgxs` stream. The bytes are valid during the call only. */
export type RecordSink = (bytes: Uint8Array) => void

export interface EnclaveGeometry {
  /** SSAFRAMESIZE, in pages. */
  readonly ssaFrameSize: number
  /** SECS.SIZE in bytes, a power of two. */
  readonly size: number
}

/**
 * MrEnclave as the processor computes it: SHA-256 over one 64-byte record for each ECREATE and EADD, and a record with
 * 256 bytes of the page for each EEXTEND. Order matters. Wrong use is a `TypeError`.
 */
export class MrEnclave {
  readonly #hash = new Sha256()
  readonly #sink: RecordSink | undefined
  readonly #record = new Uint8Array(recordSize)
  readonly #view = new DataView(this.#record.buffer)
  readonly #size: number
  #page = -1

  constructor(geometry: EnclaveGeometry, sink?: RecordSink) {
    const { size, ssaFrameSize } = geometry
    if (!isPowerOfTwo(size) || size < 2 * pageSize || size > maxEnclaveSize)
      throw new TypeError(`SECS.SIZE must be a power of two from 8192, is ${size}`)
    if (!Number.isInteger(ssaFrameSize) || ssaFrameSize < 1 || ssaFrameSize > 0xffff_ffff)
      throw new TypeError(`SSAFRAMESIZE must be 1 to 2^32 - 1 pages, is ${ssaFrameSize}`)
    this.#sink = sink
    this.#size = size
    this.#tag("ECREATE")
    this.#view.setUint32(8, ssaFrameSize, true)
    this.#view.setBigUint64(12, BigInt(size), true)
    this.#emit(this.#record)
  }

  /** EADD: measures the address, the type and the permissions of a page, and nothing of its content. */
  add(offset: number, flags: PageFlags): void {
    if (offset % pageSize !== 0 || offset < 0 || offset >= this.#size)
      throw new TypeError(`EADD offset ${offset} is not a page of the enclave`)
    this.#page = offset
    this.#tag("EADD")
    this.#view.setBigUint64(8, BigInt(offset), true)
    this.#view.setBigUint64(16, BigInt(flags), true)
    this.#emit(this.#record)
  }

  /** EEXTEND: measures 256 bytes of the page that was added last. */
  extend(offset: number, chunk: Uint8Array): void {
    if (chunk.length !== chunkSize || offset % chunkSize !== 0)
      throw new TypeError("EEXTEND takes 256 bytes at a multiple of 256")
    if (Math.floor(offset / pageSize) * pageSize !== this.#page)
      throw new TypeError(`EEXTEND offset ${offset} is not in the page that was added last`)
    this.#tag("EEXTEND")
    this.#view.setBigUint64(8, BigInt(offset), true)
    this.#emit(this.#record)
    this.#emit(chunk)
  }

  /** EADD and the 16 EEXTENDs of a page: all of it is measured. */
  addMeasured(offset: number, flags: PageFlags, page: Uint8Array): void {
    if (page.length !== pageSize) throw new TypeError(`a page has ${pageSize} bytes`)
    this.add(offset, flags)
    for (let at = 0; at < pageSize; at += chunkSize)
      this.extend(offset + at, page.subarray(at, at + chunkSize))
  }

  /** EINIT: 32 bytes. The object is used up. */
  digest(): Uint8Array {
    return this.#hash.digest()
  }

  #tag(tag: string): void {
    this.#record.fill(0)
    for (let i = 0; i < tag.length; i += 1) this.#record[i] = tag.charCodeAt(i)
  }

  #emit(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.#sink?.(bytes)
  }
}

export function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value))
}
