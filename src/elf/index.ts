/**
 * ELF64: the head of a static executable in one page, and the stub that runs when nobody protects it.
 *
 * Spec: `spec/sealed-binary.md`. Promises: pure; the head is a function of its arguments, so a reader can emit it again
 * and compare bytes instead of parsing what the adversary wrote.
 */
export { type ElfSection, emitHead, sectionTypes } from "./head.ts"
export { type Machine, machineOf, machines } from "./machine.ts"
export { emitSentenceNote, sentenceOf } from "./note.ts"
export { type LoadSegment, type NamedSection, readElf } from "./read.ts"
export { emitStub } from "./stub.ts"
