import { locateBinfs, looksLikeBinfs, statedRootHash } from "../binfs/index.ts"
import { CofferError } from "../errors.ts"
import { looksSealed, openFile, readSealed } from "../seal/index.ts"
import type { ByteSource } from "../verity/index.ts"
import { expectRoot, parseRootHash } from "./binfs-source.ts"

/** Where in a file a binary filesystem and its hash tree are; bytes. */
export interface BinfsPlace {
  readonly dataOffset: number
  readonly dataSize: number
  readonly hashOffset: number
  /** 32 bytes. */
  readonly rootHash: Uint8Array
  /** False when only the file itself says that this is the root hash, which binds nothing. */
  readonly bound: boolean
}

/** Finds it in a sealed binary, or in an image with its hash tree behind it. `rootHash`: hex, when the user knows it. */
export function binfsPlace(path: string, rootHash: string | undefined): BinfsPlace {
  const wanted = rootHash === undefined ? undefined : parseRootHash(rootHash)
  const file = openFile(path)
  try {
    const start = new Uint8Array(Math.min(file.size, 0x5000))
    file.read(start, 0)
    const place = placeIn(path, file, start)
    expectRoot(path, wanted, place.rootHash)
    return wanted === undefined ? place : { ...place, bound: true }
  } finally {
    file.close()
  }
}

function placeIn(path: string, file: ByteSource, start: Uint8Array): BinfsPlace {
  if (looksSealed(start)) return sealedPlace(file)
  if (looksLikeBinfs(start)) return imagePlace(path, file)
  throw new CofferError(
    "config",
    `${path}: wanted a binary filesystem or a sealed binary, found something else`,
    { hint: "make one with: coffer binfs create DIR|TAR OUT" },
  )
}

function sealedPlace(file: ByteSource): BinfsPlace {
  const { binfs, verity } = readSealed(file).manifest
  return {
    dataOffset: binfs.offset,
    dataSize: binfs.size,
    hashOffset: verity.offset,
    rootHash: Uint8Array.fromHex(verity.rootHash),
    bound: true,
  }
}

function imagePlace(path: string, file: ByteSource): BinfsPlace {
  const place = locateBinfs(file)
  if (place.hashSize === undefined)
    throw new CofferError("config", `${path}: wanted a hash tree behind the image, found none`, {
      hint: "only what can be verified is mounted; make it with: coffer binfs create DIR OUT",
    })
  return {
    dataOffset: 0,
    dataSize: place.imageSize,
    hashOffset: place.imageSize,
    rootHash: statedRootHash(file, place),
    bound: false,
  }
}
