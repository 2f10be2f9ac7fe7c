import { equalBytes, isZero, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { type MeasuredManifest, parseManifest } from "../manifest/index.ts"
import {
  pageSize,
  refuseSampleSigner,
  type SigstructClaims,
  sigstructSize,
  verifySigstruct,
} from "../sgx/index.ts"
import type { ByteSource } from "../verity/index.ts"
import {
  checkGeometry,
  damaged,
  emitSealedHead,
  manifestOffset,
  maxHeadSize,
  sigstructOffset,
  stubOffset,
} from "./layout.ts"
import { measurePages } from "./measure.ts"

export interface SealedBinary {
  readonly manifest: MeasuredManifest
  /** 32 bytes, computed from what was read. */
  readonly mrEnclave: Uint8Array
  /** What a genuine signature over this MrEnclave says; undefined in an unsigned binary. Whether the signer is acceptable is for the caller; only the published sample key is refused here. */
  readonly signature: SigstructClaims | undefined
  /** The measured pages. */
  readonly stub: Uint8Array
  readonly manifestPages: Uint8Array
  /** The bytes of the head as they were read, once. */
  readonly head: Uint8Array
}

/**
 * Reads the head of a sealed binary, once, and verifies everything in it: the bytes that are measured are the bytes that
 * are parsed. Offsets come from the measured manifest. ELF headers, section table, sentence and padding are emitted again
 * and compared, the signature is verified, so there is no byte that nobody looked at. Any fault is an `integrity` error; a signature by the published sample key is `refused`.
 * The binary filesystem is not read here: verity verifies each block of it when it is read.
 */
export function readSealed(source: ByteSource): SealedBinary {
  const read = new HeadReader(source)
  const text = read.manifestText()
  const manifest = parseManifest(text)
  const end = checkGeometry(manifest)
  if (source.size !== end) throw damaged("size of the file", end, source.size)
  const head = read.upTo(manifest.binfs.offset)
  const stub = head.slice(stubOffset, stubOffset + pageSize)
  const pages = head.slice(manifestOffset)
  const mrEnclave = measurePages(stub, pages)
  const sigstruct = sigstructOf(head)
  const want = emitSealedHead(manifest, toHex(mrEnclave), sigstruct)
  if (!equalBytes(want, head)) throw differs(want, head)
  return {
    manifest,
    mrEnclave,
    signature: sigstruct === undefined ? undefined : verified(sigstruct, mrEnclave),
    stub,
    manifestPages: pages,
    head,
  }
}

/** Reads forward in pieces, each byte once: the disk is the adversary's and may answer a second read differently. */
class HeadReader {
  readonly #source: ByteSource
  #bytes: Uint8Array

  constructor(source: ByteSource) {
    this.#source = source
    this.#bytes = new Uint8Array(0)
    if (source.size < manifestOffset + 2 * pageSize)
      throw damaged("size", "a head and a binary filesystem", `${source.size} bytes`)
  }

  /** The bytes from the manifest's beginning up to the first zero byte. */
  manifestText(): Uint8Array {
    let size = manifestOffset + 4 * pageSize
    for (;;) {
      this.#grow(Math.min(size, this.#source.size, maxHeadSize))
      const end = this.#bytes.indexOf(0, manifestOffset)
      if (end >= 0) return this.#bytes.subarray(manifestOffset, end)
      if (this.#bytes.length < size)
        throw damaged("manifest", "text that ends with a zero byte", "no end")
      size *= 2
    }
  }

  upTo(size: number): Uint8Array {
    this.#grow(size)
    return this.#bytes.slice(0, size)
  }

  #grow(size: number): void {
    if (size <= this.#bytes.length) return
    const bytes = new Uint8Array(size)
    bytes.set(this.#bytes)
    this.#source.read(bytes.subarray(this.#bytes.length), this.#bytes.length)
    this.#bytes = bytes
  }
}

function sigstructOf(head: Uint8Array): Uint8Array | undefined {
  const bytes = head.slice(sigstructOffset, sigstructOffset + sigstructSize)
  return isZero(bytes) ? undefined : bytes
}

function verified(sigstruct: Uint8Array, mrEnclave: Uint8Array): SigstructClaims {
  const claims = verifySigstruct(sigstruct)
  refuseSampleSigner(claims.mrSigner)
  if (!equalBytes(claims.mrEnclave, mrEnclave))
    throw new CofferError(
      "integrity",
      `sealed binary: signature: wanted MrEnclave ${toHex(mrEnclave)}, found one for ${toHex(claims.mrEnclave)}`,
      { reason: "sigstruct-other-enclave" },
    )
  return claims
}

function differs(want: Uint8Array, have: Uint8Array): CofferError {
  const at = want.findIndex((byte, i) => byte !== have[i])
  const field = fieldAt(at)
  return new CofferError(
    "integrity",
    `sealed binary: ${field}: wanted ${hexByte(want[at])} at offset ${at}, found ${hexByte(have[at])}`,
    { reason: "head", facts: { field, offset: at } },
  )
}

function fieldAt(offset: number): string {
  if (offset < stubOffset) return "ELF headers"
  if (offset < 2 * stubOffset) return "stub"
  if (offset < sigstructOffset) return "sentence"
  return offset < manifestOffset ? "padding after the signature" : "padding after the manifest"
}

function hexByte(byte: number | undefined): string {
  return byte === undefined ? "nothing" : byte.toString(16).padStart(2, "0")
}

/** Does this look like a sealed binary, whole or damaged? Takes what there is of the first 20 KiB. */
export function looksSealed(start: Uint8Array): boolean {
  const text = Buffer.from(start.subarray(0, manifestOffset + 16)).toString("latin1")
  return (
    text.slice(0, stubOffset).includes("\0.coffer.manifest\0") ||
    text.slice(stubOffset, noteEnd).includes("coffer sealed binary ") ||
    text.startsWith('{"arch":"', manifestOffset)
  )
}

const noteEnd = sigstructOffset
