import { MrEnclave, pageFlags, pageSize, type RecordSink } from "../sgx/index.ts"

const stubFlags = pageFlags.reg + pageFlags.r + pageFlags.x
const manifestFlags = pageFlags.reg + pageFlags.r

/**
 * MrEnclave of a sealed binary, 32 bytes: ECREATE, the stub page at 0 (read, execute), the manifest's pages after it
 * (read), each added and extended whole. The manifest has the root hash of all files, so nothing else is needed.
 */
export function measurePages(
  stub: Uint8Array,
  manifest: Uint8Array,
  sink?: RecordSink,
): Uint8Array {
  let size = 2 * pageSize
  while (size < stub.length + manifest.length) size *= 2
  const builder = new MrEnclave({ ssaFrameSize: 1, size }, sink)
  builder.addMeasured(0, stubFlags, stub)
  for (let at = 0; at < manifest.length; at += pageSize)
    builder.addMeasured(pageSize + at, manifestFlags, manifest.subarray(at, at + pageSize))
  return builder.digest()
}
