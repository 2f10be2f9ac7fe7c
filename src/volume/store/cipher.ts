// Hot path: every frame that is read or written passes here. No allocation; module-wide scratch, one thread.
import { type Aead, createAead, sha256 } from "../../crypto/index.ts"
import {
  frameHeaderSize,
  newAad,
  nonceAt,
  type Protection,
  setAad,
  tagAt,
  type VolumeHeader,
} from "./format.ts"
import { segmentKey } from "./keys.ts"

/** Verifies the frames of one segment. */
export interface FrameOpener {
  /**
   * The frame whose header stands at `headerAt` of `source`, payload behind it. True: it verified, and `target` has the
   * payload. `kind`, `size` and `offset` are what the caller expects, never what the header says.
   */
  open(
    source: Buffer,
    headerAt: number,
    kind: number,
    size: number,
    offset: number,
    target: Buffer,
    targetAt: number,
  ): boolean
  close(): void
}

const nonce = Buffer.allocUnsafeSlow(12)

/** Seals and opens the frames of one segment with its key. */
export class SegmentCipher implements FrameOpener {
  readonly #aead: Aead
  readonly #aad: Buffer
  readonly #plain: boolean

  constructor(volumeKey: Uint8Array, header: VolumeHeader, salt: Uint8Array) {
    const key = segmentKey(volumeKey, header, salt)
    this.#aead = createAead(key)
    key.fill(0)
    this.#aad = newAad(header.id, salt)
    this.#plain = isPlain(header.protection)
  }

  /** Size, kind and nonce stand in the header already. Encrypts the payload where it is and writes the tag. */
  seal(buffer: Buffer, headerAt: number, kind: number, size: number, offset: number): void {
    setAad(this.#aad, offset, kind, size)
    buffer.copy(nonce, 0, headerAt + nonceAt, headerAt + nonceAt + 12)
    const at = headerAt + frameHeaderSize
    if (this.#plain) this.#aead.mac(nonce, this.#aad, buffer, at, size, headerAt + tagAt)
    else this.#aead.seal(nonce, this.#aad, buffer, at, size, headerAt + tagAt)
  }

  open(
    source: Buffer,
    headerAt: number,
    kind: number,
    size: number,
    offset: number,
    target: Buffer,
    targetAt: number,
  ): boolean {
    setAad(this.#aad, offset, kind, size)
    source.copy(nonce, 0, headerAt + nonceAt, headerAt + nonceAt + 12)
    const at = headerAt + frameHeaderSize
    const tag = headerAt + tagAt
    if (!this.#plain)
      return this.#aead.open(nonce, this.#aad, source, at, size, tag, target, targetAt)
    if (!this.#aead.verifyMac(nonce, this.#aad, source, at, size, tag)) return false
    source.copy(target, targetAt, at, at + size)
    return true
  }

  close(): void {
    this.#aead.close()
  }
}

function isPlain(protection: Protection): boolean {
  return protection === "authenticated"
}

/**
 * Opens frames of an authenticated volume without its key: by the SHA-256 that an authentic commit lists for the place
 * (`hashOf`), or, when there is none to compare with, unverified.
 */
export class KeylessOpener implements FrameOpener {
  readonly #hashOf: ((offset: number) => Uint8Array | undefined) | undefined

  constructor(hashOf: ((offset: number) => Uint8Array | undefined) | undefined) {
    this.#hashOf = hashOf
  }

  open(
    source: Buffer,
    headerAt: number,
    _kind: number,
    size: number,
    offset: number,
    target: Buffer,
    targetAt: number,
  ): boolean {
    const at = headerAt + frameHeaderSize
    if (this.#hashOf !== undefined) {
      const want = this.#hashOf(offset)
      if (want === undefined || Buffer.compare(want, sha256(source.subarray(at, at + size))) !== 0)
        return false
    }
    source.copy(target, targetAt, at, at + size)
    return true
  }

  close(): void {}
}
