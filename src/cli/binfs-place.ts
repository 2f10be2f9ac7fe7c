import { fromHex } from "../bytes/index.ts"
import { sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { looksSealed, openFile, readSealed } from "../seal/index.ts"
import { type ByteSource, blockSize, hashAreaSize } from "../verity/index.ts"

/** Where in a file a binary filesystem and its hash tree are, and what binds it. */
export interface BinfsPlace {
  readonly dataOffset: number
  readonly dataSize: number
  readonly hashOffset: number
  /** 32 bytes. */
  readonly rootHash: Uint8Array
  /** `measured`: from a sealed binary's manifest. `given`: by the user. `own`: computed from the file, which binds nothing. */
  readonly binding: "measured" | "given" | "own"
}

const superblockOffset = 1024
const headSize = 0x5000

/** Finds it in a sealed binary, or in an image with its hash tree behind it. `rootHash`: hex, when the user knows it. */
export function binfsPlace(path: string, rootHash: string | undefined): BinfsPlace {
  const file = openFile(path)
  try {
    const start = new Uint8Array(Math.min(file.size, headSize))
    file.read(start, 0)
    const given = rootHash === undefined ? undefined : parseRootHash(rootHash)
    return looksSealed(start) ? sealedPlace(file, given) : imagePlace(path, file, start, given)
  } finally {
    file.close()
  }
}

function parseRootHash(hex: string): Uint8Array {
  const bytes = fromHex(hex)
  if (bytes?.length === 32) return bytes
  throw new CofferError("usage", `--root-hash: wanted 64 hex digits, found '${hex}'`)
}

function sealedPlace(file: ByteSource, given: Uint8Array | undefined): BinfsPlace {
  const { binfs, verity } = readSealed(file).manifest
  const place = { dataOffset: binfs.offset, dataSize: binfs.size, hashOffset: verity.offset }
  if (given !== undefined) return { ...place, rootHash: given, binding: "given" }
  return { ...place, rootHash: Uint8Array.fromHex(verity.rootHash), binding: "measured" }
}

function imagePlace(
  path: string,
  file: ByteSource,
  start: Uint8Array,
  given: Uint8Array | undefined,
): BinfsPlace {
  const head = Buffer.from(start)
  const isErofs = head.toString("hex", superblockOffset, superblockOffset + 4) === "e2e1f5e0"
  if (!isErofs)
    throw new CofferError(
      "config",
      `${path}: wanted a binary filesystem or a sealed binary, found something else`,
      { hint: "make one with: coffer binfs create DIR OUT" },
    )
  const dataSize = head.readUInt32LE(superblockOffset + 36) * blockSize
  const wanted = dataSize + hashAreaSize(dataSize / blockSize)
  if (dataSize === 0 || file.size !== wanted)
    throw new CofferError(
      "integrity",
      `${path}: wanted image and hash tree, ${wanted} bytes, found ${file.size}`,
      { reason: "truncated" },
    )
  const place = { dataOffset: 0, dataSize, hashOffset: dataSize }
  if (given !== undefined) return { ...place, rootHash: given, binding: "given" }
  return { ...place, rootHash: ownRootHash(file, dataSize), binding: "own" }
}

/** The digest of the tree's top block, which stands first; over one block of data there is no tree. */
function ownRootHash(file: ByteSource, dataSize: number): Uint8Array {
  const top = new Uint8Array(blockSize)
  file.read(top, dataSize === blockSize ? 0 : dataSize)
  return sha256(top)
}
