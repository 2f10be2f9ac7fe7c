import { CofferError } from "../errors.ts"
import {
  type FileSource,
  looksSealed,
  openFile,
  readSealed,
  type SealedBinary,
} from "../seal/index.ts"

/** Opens a sealed binary, reads its head, and closes the file when `use` is done. What is no sealed binary is a `config` error. */
export async function withSealed<T>(
  path: string,
  use: (binary: SealedBinary, source: FileSource) => T | Promise<T>,
): Promise<T> {
  const source = openFile(path)
  try {
    const start = new Uint8Array(Math.min(source.size, 0x5000))
    source.read(start, 0)
    if (!looksSealed(start))
      throw new CofferError("config", `${path}: wanted a sealed binary, found something else`, {
        hint: "make one with: coffer seal DIR OUT --manifest coffer.yaml",
      })
    return await use(readSealed(source), source)
  } finally {
    source.close()
  }
}
