import { alignUp, utf8 } from "../bytes/index.ts"

const owner = utf8("Coffer\0")
const headerSize = 12
const noteType = 1

/** Where the text begins in the note. */
export const sentenceOffset = headerSize + alignUp(owner.length, 4)

/** What the stub prints. One size for every MrEnclave (64 hex digits), so the stub can have it built in. */
export function sentenceOf(mrEnclave: string): string {
  return `sealed by Coffer, MrEnclave ${mrEnclave}: run it with coffer\n`
}

export const sentenceSize = sentenceOf("0".repeat(64)).length

/** An ELF note (owner `Coffer`, type 1) whose description is the sentence. */
export function emitSentenceNote(mrEnclave: string): Uint8Array {
  const text = utf8(sentenceOf(mrEnclave))
  if (text.length !== sentenceSize) throw new TypeError("MrEnclave has 64 hex digits")
  const note = new Uint8Array(sentenceOffset + alignUp(text.length, 4))
  const view = new DataView(note.buffer)
  view.setUint32(0, owner.length, true)
  view.setUint32(4, text.length, true)
  view.setUint32(8, noteType, true)
  note.set(owner, headerSize)
  note.set(text, sentenceOffset)
  return note
}
