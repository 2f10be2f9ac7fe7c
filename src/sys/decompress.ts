// Hot path: every byte of a compressed layer goes through here. Two fixed buffers and no threads: streams of `node:zlib`, which
// make new memory for each piece and change threads for it, take twice the processor time.
import ffi from "node:ffi"

const pointer = "pointer"
const int = "int32"

// zlib and zstd as they are in the node binary, or linked to it: zlib.h, zstd.h.
function openLibraries() {
  return ffi.dlopen(null, {
    zlibVersion: { arguments: [], return: pointer },
    inflateInit2_: { arguments: [pointer, int, pointer, int], return: int },
    inflate: { arguments: [pointer, int], return: int },
    inflateReset: { arguments: [pointer], return: int },
    inflateEnd: { arguments: [pointer], return: int },
    ZSTD_createDStream: { arguments: [], return: pointer },
    ZSTD_decompressStream: { arguments: [pointer, pointer, pointer], return: "uint64" },
    ZSTD_isError: { arguments: ["uint64"], return: "uint32" },
    ZSTD_freeDStream: { arguments: [pointer], return: "uint64" },
  } as const).functions
}

let libraries: ReturnType<typeof openLibraries> | undefined

/** Bytes of the buffers; both stay in a processor's cache. */
const bufferSize = 1 << 18

/** An ArrayBuffer of its own does not move: its address may be kept. */
interface Memory {
  readonly bytes: Uint8Array
  readonly address: bigint
}

function memoryOf(size: number): Memory {
  const buffer = new ArrayBuffer(size)
  return { bytes: new Uint8Array(buffer), address: ffi.getRawPointer(buffer) }
}

/** What the data are, and not the system: damaged, or no such data at all. */
export class DamagedDataError extends Error {}

/**
 * Decompresses a stream: fill `input`, say with `give` how much, `take` until it gives nothing more, and so on. Close it.
 * Several members or frames one after the other are one stream, as `gzip` and `zstd` have it; zeros after the last member of
 * a gzip, and what follows them, are ignored.
 */
export interface Decompressor {
  readonly input: Uint8Array
  /** The first `size` bytes of `input` come next; all given before was taken. */
  give(size: number): void
  /** The next bytes, good until the next call; empty: wants more input. Throws `DamagedDataError`. */
  take(): Uint8Array
  /** False: the stream must go on, or it was cut. */
  isWhole(): boolean
  close(): void
}

export function openDecompressor(format: "gzip" | "zstd"): Decompressor {
  return format === "gzip" ? new Gunzip() : new Unzstd()
}

// z_stream where pointers and longs have 64 bits.
const zStream = { size: 112, nextIn: 0, availableIn: 8, nextOut: 24, availableOut: 32 }
const Z_NO_FLUSH = 0
const Z_OK = 0
const Z_STREAM_END = 1
const Z_BUF_ERROR = -5
/** The largest window, and a gzip header. */
const windowBits = 15 + 16

class Gunzip implements Decompressor {
  readonly #zlib = (libraries ??= openLibraries())
  readonly #in = memoryOf(bufferSize)
  readonly #out = memoryOf(bufferSize)
  readonly #stream = memoryOf(zStream.size)
  readonly #fields = new DataView(this.#stream.bytes.buffer)
  #atEnd = false
  /** Behind the last member. */
  #ignores = false
  #open = true

  constructor() {
    const { address } = this.#stream
    const version = this.#zlib.zlibVersion()
    const { inflateInit2_: begin } = this.#zlib
    const begun = begin(address, windowBits, version, zStream.size)
    if (begun !== Z_OK) throw new Error(`zlib cannot begin: ${begun}`)
  }

  get input(): Uint8Array {
    return this.#in.bytes
  }

  give(size: number): void {
    checkGiven(size)
    this.#fields.setBigUint64(zStream.nextIn, this.#in.address, true)
    this.#fields.setUint32(zStream.availableIn, size, true)
  }

  take(): Uint8Array {
    if (!this.#open) throw new TypeError("the decompressor is closed")
    this.#fields.setBigUint64(zStream.nextOut, this.#out.address, true)
    this.#fields.setUint32(zStream.availableOut, bufferSize, true)
    while (this.#goesOn()) {
      const result = this.#zlib.inflate(this.#stream.address, Z_NO_FLUSH)
      if (result === Z_STREAM_END) this.#atEnd = true
      else if (result === Z_BUF_ERROR) break
      else if (result !== Z_OK) throw new DamagedDataError(`not valid gzip data: ${result}`)
      if (this.#fields.getUint32(zStream.availableOut, true) === 0) break
    }
    const left = this.#fields.getUint32(zStream.availableOut, true)
    return this.#out.bytes.subarray(0, bufferSize - left)
  }

  /** Begins the next member where one ended and more follows. */
  #goesOn(): boolean {
    if (this.#ignores) return false
    if (!this.#atEnd) return true
    const left = this.#fields.getUint32(zStream.availableIn, true)
    if (left === 0) return false
    const at = Number(this.#fields.getBigUint64(zStream.nextIn, true) - this.#in.address)
    this.#ignores = this.#in.bytes[at] === 0
    if (this.#ignores) return false
    this.#zlib.inflateReset(this.#stream.address)
    this.#atEnd = false
    return true
  }

  isWhole(): boolean {
    return this.#atEnd
  }

  close(): void {
    if (this.#open) this.#zlib.inflateEnd(this.#stream.address)
    this.#open = false
  }
}

/** `ZSTD_inBuffer` and `ZSTD_outBuffer`: address, size, position. */
const zstdBuffer = { words: 3, address: 0, size: 1, position: 2 }

class Unzstd implements Decompressor {
  readonly #zstd = (libraries ??= openLibraries())
  readonly #in = memoryOf(bufferSize)
  readonly #out = memoryOf(bufferSize)
  readonly #inPlace = memoryOf(zstdBuffer.words * 8)
  readonly #outPlace = memoryOf(zstdBuffer.words * 8)
  readonly #inWords = new BigUint64Array(this.#inPlace.bytes.buffer)
  readonly #outWords = new BigUint64Array(this.#outPlace.bytes.buffer)
  readonly #stream: bigint
  #atEnd = false
  #open = true

  constructor() {
    this.#stream = this.#zstd.ZSTD_createDStream()
    if (this.#stream === 0n) throw new Error("zstd has no memory")
    this.#outWords.set([this.#out.address, BigInt(bufferSize), 0n])
  }

  get input(): Uint8Array {
    return this.#in.bytes
  }

  give(size: number): void {
    checkGiven(size)
    this.#inWords.set([this.#in.address, BigInt(size), 0n])
  }

  take(): Uint8Array {
    if (!this.#open) throw new TypeError("the decompressor is closed")
    this.#outWords[zstdBuffer.position] = 0n
    // A frame is over once all of it was taken: a call for nothing would begin another.
    while (!this.#atEnd || this.#left() > 0) {
      const [left, filled] = [this.#left(), this.#filled()]
      const more = this.#zstd.ZSTD_decompressStream(
        this.#stream,
        this.#outPlace.address,
        this.#inPlace.address,
      )
      if (this.#zstd.ZSTD_isError(more) !== 0) throw new DamagedDataError("not valid zstd data")
      this.#atEnd = more === 0n
      if (this.#filled() === bufferSize) break
      if (this.#left() === left && this.#filled() === filled) break
    }
    return this.#out.bytes.subarray(0, this.#filled())
  }

  #left(): number {
    return Number(
      (this.#inWords[zstdBuffer.size] ?? 0n) - (this.#inWords[zstdBuffer.position] ?? 0n),
    )
  }

  #filled(): number {
    return Number(this.#outWords[zstdBuffer.position])
  }

  isWhole(): boolean {
    return this.#atEnd
  }

  close(): void {
    if (this.#open) this.#zstd.ZSTD_freeDStream(this.#stream)
    this.#open = false
  }
}

// More than the buffer has would be a read past its end.
function checkGiven(size: number): void {
  if (!Number.isInteger(size) || size < 0 || size > bufferSize)
    throw new TypeError(`wanted 0 to ${bufferSize} bytes of input, found ${size}`)
}
