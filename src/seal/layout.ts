import { alignUp, canonicalJson, concatBytes } from "../bytes/index.ts"
import {
  type ElfSection,
  emitHead,
  emitSentenceNote,
  emitStub,
  type Machine,
  sectionTypes,
} from "../elf/index.ts"
import { CofferError } from "../errors.ts"
import { type MeasuredManifest, maxManifestSize, serialiseManifest } from "../manifest/index.ts"
import { pageSize, sigstructSize } from "../sgx/index.ts"
import { blockSize, hashAreaSize } from "../verity/index.ts"

/**
 * Where things stand in a sealed binary: `spec/sealed-binary.md`. Everything before the binary filesystem is the *head*,
 * a function of the manifest, MrEnclave and the signature: readers emit it again and compare.
 */
export const stubOffset = 0x1000
const noteOffset = 0x2000
export const sigstructOffset = 0x3000
export const manifestOffset = 0x4000

/** Bytes. No head is larger. */
export const maxHeadSize = manifestOffset + alignUp(maxManifestSize + 128, pageSize)

type Draft = Omit<MeasuredManifest, "binfs" | "verity">

/**
 * Where the binary filesystem begins. It must be known before the sizes and the root hash are, so the manifest's pages
 * have room for the longest numbers, and at least one zero byte that ends the text.
 */
export function binfsOffsetOf(draft: Draft): number {
  const longest = Number.MAX_SAFE_INTEGER
  const { binfs: _, verity: __, ...rest } = { binfs: undefined, verity: undefined, ...draft }
  const text = canonicalJson({
    ...rest,
    binfs: { offset: longest, size: longest },
    verity: { offset: longest, size: longest, rootHash: "0".repeat(64) },
  })
  return manifestOffset + alignUp(text.length + 1, pageSize)
}

/** Checks the places that the measured manifest gives, and returns the size that the file must have. */
export function checkGeometry(manifest: MeasuredManifest): number {
  const { binfs, verity } = manifest
  const begin = binfsOffsetOf(manifest)
  if (binfs.offset !== begin) throw damaged("binfs.offset", begin, binfs.offset)
  if (binfs.size === 0) throw damaged("binfs.size", "a binary filesystem", "none")
  if (verity.offset !== binfs.offset + binfs.size)
    throw damaged("verity.offset", binfs.offset + binfs.size, verity.offset)
  const treeSize = hashAreaSize(binfs.size / blockSize)
  if (verity.size !== treeSize) throw damaged("verity.size", treeSize, verity.size)
  return verity.offset + verity.size
}

export function damaged(field: string, want: string | number, have: string | number): CofferError {
  return new CofferError("integrity", `sealed binary: ${field}: wanted ${want}, found ${have}`, {
    reason: "head",
    facts: { field },
  })
}

/** The manifest's pages: its text, then zeros. */
export function manifestPages(manifest: MeasuredManifest): Uint8Array {
  const pages = new Uint8Array(manifest.binfs.offset - manifestOffset)
  pages.set(serialiseManifest(manifest))
  return pages
}

export function stubPage(arch: Machine): Uint8Array {
  return emitStub(arch, noteOffset - stubOffset, pageSize)
}

/** All bytes before the binary filesystem. `mrEnclave` in hex; `sigstruct` 1808 bytes, or undefined in an unsigned binary. */
export function emitSealedHead(
  manifest: MeasuredManifest,
  mrEnclave: string,
  sigstruct: Uint8Array | undefined,
): Uint8Array {
  const note = emitSentenceNote(mrEnclave)
  const head = emitHead(
    {
      machine: manifest.arch,
      load: { offset: stubOffset, size: noteOffset + pageSize - stubOffset },
      sections: sections(manifest, note.length, sigstruct !== undefined),
    },
    stubOffset,
  )
  return concatBytes(
    head,
    stubPage(manifest.arch),
    padded(note),
    padded(sigstruct ?? new Uint8Array(0)),
    manifestPages(manifest),
  )
}

function padded(bytes: Uint8Array): Uint8Array {
  const page = new Uint8Array(pageSize)
  page.set(bytes)
  return page
}

function plain(name: string, offset: number, size: number): ElfSection {
  return { name, offset, size, type: sectionTypes.data, loaded: "none", align: pageSize }
}

function sections(manifest: MeasuredManifest, noteSize: number, signed: boolean): ElfSection[] {
  const { binfs, verity } = manifest
  return [
    { ...plain(".text", stubOffset, pageSize), loaded: "code" },
    {
      ...plain(".note.coffer", noteOffset, noteSize),
      type: sectionTypes.note,
      loaded: "note",
      align: 4,
    },
    ...(signed ? [plain(".coffer.sigstruct", sigstructOffset, sigstructSize)] : []),
    plain(".coffer.manifest", manifestOffset, serialiseManifest(manifest).length),
    plain(".coffer.binfs", binfs.offset, binfs.size),
    plain(".coffer.verity", verity.offset, verity.size),
  ]
}
