import { Cursor } from "../bytes/index.ts"
import { Sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import {
  chunkSize,
  isPowerOfTwo,
  maxEnclaveSize,
  pageFlags,
  pageSize,
  recordSize,
} from "./mrenclave.ts"

export interface SgxsMeasurement {
  readonly mrEnclave: Uint8Array
  /** SSAFRAMESIZE in pages, SECS.SIZE in bytes. */
  readonly ssaFrameSize: number
  readonly enclaveSize: number
  /** Counts of EADD and EEXTEND records, and of chunks that stand in the stream but are not measured. */
  readonly pageCount: number
  readonly chunkCount: number
  readonly unmeasuredCount: number
}

const format = "sgxs stream"
/** 64 GiB of pages: a bound for the memory of this reader. */
const maxPageCount = 2 ** 24 - 1

const pageTypes: readonly number[] = [
  pageFlags.tcs,
  pageFlags.reg,
  pageFlags.shadowStackFirst,
  pageFlags.shadowStackRest,
]

/**
 * Reads an `.sgxs` stream piece by piece and measures it. Everything that a processor would not have measured in this
 * form is an `integrity` error: another first record than ECREATE, a page outside or twice, data of a page that is not
 * the last one added, bytes that must be zero. UNMEASRD records are counted and not hashed; an unsized stream is refused.
 */
export class SgxsReader {
  readonly #hash = new Sha256()
  readonly #pages = new Set<number>()
  #pending = new Uint8Array(0)
  #geometry: { ssaFrameSize: number; enclaveSize: number } | undefined
  #page = -1
  #chunkCount = 0
  #unmeasuredCount = 0
  #lastChunk = -1

  update(piece: Uint8Array): void {
    const bytes = this.#pending.length === 0 ? piece : Buffer.concat([this.#pending, piece])
    let at = 0
    for (;;) {
      const size = this.#record(bytes.subarray(at))
      if (size === 0) break
      at += size
    }
    this.#pending = bytes.slice(at)
  }

  /** The end of the stream. */
  finish(): SgxsMeasurement {
    if (this.#pending.length > 0) throw fault("end", "whole records", "a part of one")
    if (this.#geometry === undefined) throw fault("first record", "ECREATE", "the end")
    return {
      mrEnclave: this.#hash.digest(),
      ...this.#geometry,
      pageCount: this.#pages.size,
      chunkCount: this.#chunkCount,
      unmeasuredCount: this.#unmeasuredCount,
    }
  }

  /** Takes one record from the front; its size, or 0 when it is not whole yet. */
  #record(bytes: Uint8Array): number {
    if (bytes.length < recordSize) return 0
    const tag = Buffer.from(bytes.subarray(0, 8)).toString("latin1")
    const withData = tag === "EEXTEND\0" || tag === "UNMEASRD"
    const size = withData ? recordSize + chunkSize : recordSize
    if (bytes.length < size) return 0
    const record = bytes.subarray(0, size)
    const cursor = new Cursor(record.subarray(8), format)
    if (tag === "UNSIZED\0")
      throw fault(
        "first record",
        "ECREATE",
        "UNSIZED, which has no measurement before it is loaded",
      )
    if ((tag === "ECREATE\0") !== (this.#geometry === undefined))
      throw fault("records", "one ECREATE, as the first", JSON.stringify(tag))
    switch (tag) {
      case "ECREATE\0":
        this.#create(cursor)
        break
      case "EADD\0\0\0\0":
        this.#add(cursor)
        break
      case "EEXTEND\0":
        this.#chunkCount += 1
        this.#chunk(cursor)
        break
      case "UNMEASRD":
        this.#unmeasuredCount += 1
        this.#chunk(cursor)
        return size // not hashed
      default:
        throw fault("record", "ECREATE, EADD, EEXTEND or UNMEASRD", JSON.stringify(tag))
    }
    this.#hash.update(record)
    return size
  }

  #create(cursor: Cursor): void {
    const ssaFrameSize = cursor.u32("SSAFRAMESIZE")
    const enclaveSize = cursor.size("SECS.SIZE")
    if (!isPowerOfTwo(enclaveSize) || enclaveSize < 2 * pageSize || enclaveSize > maxEnclaveSize)
      throw fault("SECS.SIZE", "a power of two from 8192 to 2^52", String(enclaveSize))
    if (ssaFrameSize === 0) throw fault("SSAFRAMESIZE", "at least 1", "0")
    cursor.zeros(44, "rest of ECREATE")
    this.#geometry = { ssaFrameSize, enclaveSize }
  }

  #add(cursor: Cursor): void {
    const offset = cursor.size("EADD offset")
    const flags = cursor.size("SECINFO.FLAGS")
    cursor.zeros(40, "rest of SECINFO")
    const type = flags - (flags % 8)
    if (!pageTypes.includes(type))
      throw fault("SECINFO.FLAGS", "permissions and a page type", `0x${flags.toString(16)}`)
    if (offset % pageSize !== 0 || offset >= (this.#geometry?.enclaveSize ?? 0))
      throw fault("EADD offset", "a page of the enclave", String(offset))
    if (this.#pages.has(offset)) throw fault("EADD offset", "each page once", String(offset))
    if (this.#pages.size >= maxPageCount)
      throw fault("pages", `at most ${maxPageCount}`, "more of them")
    this.#pages.add(offset)
    this.#page = offset
    this.#lastChunk = -1
  }

  // A chunk may only follow its own page, and in order: then one enclave has one stream.
  #chunk(cursor: Cursor): void {
    const offset = cursor.size("chunk offset")
    cursor.zeros(48, "rest of the record")
    const inPage = this.#page >= 0 && offset >= this.#page && offset < this.#page + pageSize
    if (offset % chunkSize !== 0 || !inPage)
      throw fault("chunk offset", "a chunk of the page that was added last", String(offset))
    if (offset <= this.#lastChunk)
      throw fault("chunk offset", "ascending offsets in a page", String(offset))
    this.#lastChunk = offset
  }
}

function fault(field: string, want: string, have: string): CofferError {
  return new CofferError("integrity", `${format}: ${field}: wanted ${want}, found ${have}`, {
    facts: { format, field },
  })
}
