import { concatBytes, type StructTable } from "../../bytes/index.ts"
import { type Aead, createAead, hkdfSha256, labelBytes, randomBytes } from "../../crypto/index.ts"
import { fromSystem, isErrno } from "../../errors.ts"
import type { Disk } from "./disk.ts"
import type { VolumeHeader } from "./format.ts"

// Spec: spec/volume.md, section 10. The request lies on the adversary's disk, so it says nothing to whom the current key
// does not verify it, and it counts for one generation and one minute.
export const rekeyRequestTable: StructTable = [
  ["nonce", 0, 12],
  ["generation", 12, 4],
  ["time", 16, 8],
  ["new key", 24, 32],
  ["tag", 56, 16],
]
const requestSize = 72
const validMs = 60_000
const name = "rekey"
const emptyNonce = 12

export interface RekeyRequest {
  readonly generation: number
  /** Milliseconds since 1970. */
  readonly time: number
  readonly newKey: Uint8Array
}

function cipher(key: Uint8Array, header: VolumeHeader): Aead {
  return createAead(hkdfSha256(key, header.hash, labelBytes("volumeRekeyRequest"), 32))
}

function aadOf(generation: number, time: number): Uint8Array {
  const aad = Buffer.alloc(12)
  aad.writeUInt32LE(generation, 0)
  aad.writeBigUInt64LE(BigInt(time), 4)
  return aad
}

export function encodeRekeyRequest(
  key: Uint8Array,
  header: VolumeHeader,
  { generation, time, newKey }: RekeyRequest,
): Uint8Array {
  const aad = aadOf(generation, time)
  const out = concatBytes(randomBytes(emptyNonce), aad, newKey, new Uint8Array(16))
  const aead = cipher(key, header)
  aead.seal(out.subarray(0, 12), aad, out, 24, 32, 56)
  aead.close()
  return out
}

/** Undefined for anything but a request that was made with this key. */
export function decodeRekeyRequest(
  key: Uint8Array,
  header: VolumeHeader,
  bytes: Uint8Array,
): RekeyRequest | undefined {
  if (bytes.length !== requestSize) return undefined
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const newKey = new Uint8Array(32)
  const aead = cipher(key, header)
  const ok = aead.open(view.subarray(0, 12), view.subarray(12, 24), view, 24, 32, 56, newKey, 0)
  aead.close()
  if (!ok) return undefined
  return { generation: view.readUInt32LE(12), time: Number(view.readBigUInt64LE(16)), newKey }
}

/** Leaves a request for the process that has the volume. Replaces one that is there. */
export function leaveRekeyRequest(disk: Disk, bytes: Uint8Array): void {
  withdrawRekeyRequest(disk)
  const fd = disk.create(name)
  try {
    disk.write(fd, bytes, 0, bytes.length, 0)
  } finally {
    disk.close(fd)
  }
}

export function withdrawRekeyRequest(disk: Disk): void {
  try {
    disk.remove(name)
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw fromSystem(error, `${disk.path}/${name}`)
  }
}

/** The new key of a request that counts now; the request is gone then. What is no request of ours is left alone. */
export function takeRekeyRequest(
  { disk, header }: { readonly disk: Disk; readonly header: VolumeHeader },
  key: Uint8Array,
  generation: number,
  now: number,
): Uint8Array | undefined {
  let fd: number
  try {
    fd = disk.open(name)
  } catch {
    return undefined
  }
  const bytes = new Uint8Array(requestSize + 1)
  let size: number
  try {
    size = disk.read(fd, bytes, 0, bytes.length, 0)
  } catch {
    return undefined
  } finally {
    disk.close(fd)
  }
  const request = decodeRekeyRequest(key, header, bytes.subarray(0, size))
  if (request?.generation !== generation || Math.abs(now - request.time) > validMs) return undefined
  withdrawRekeyRequest(disk)
  return request.newKey
}
