import { utf8 } from "../bytes/index.ts"
import type { Machine } from "./machine.ts"
import { sentenceOffset, sentenceSize } from "./note.ts"

/** Says in the measured page which format this is; `strings` shows it. */
const markerOffset = 0x80

/**
 * The code of a sealed binary, zero-padded to `size`: `write(2, sentence, sentenceSize); exit_group(126)`. `noteDistance`
 * is where the note begins, in bytes from the first instruction. Without Coffer it fails closed.
 */
export function emitStub(machine: Machine, noteDistance: number, size: number): Uint8Array {
  const out = new Uint8Array(size)
  const code = machine === "x86-64" ? x86Code(noteDistance) : aarch64Code(noteDistance)
  out.set(code)
  out.set(utf8(`coffer sealed binary 1 ${machine}\0`), markerOffset)
  return out
}

function x86Code(noteDistance: number): Uint8Array {
  // lea is relative to the instruction after it, which begins at byte 17.
  const text = noteDistance + sentenceOffset - 17
  const instructions = [
    [0xb8, ...u32(1)], // mov eax, 1 (write)
    [0xbf, ...u32(2)], // mov edi, 2 (stderr)
    [0x48, 0x8d, 0x35, ...u32(text)], // lea rsi, [rip + text]
    [0xba, ...u32(sentenceSize)], // mov edx, size
    [0x0f, 0x05], // syscall
    [0xb8, ...u32(231)], // mov eax, 231 (exit_group)
    [0xbf, ...u32(126)], // mov edi, 126
    [0x0f, 0x05], // syscall
    [0x0f, 0x0b], // ud2
  ]
  return Uint8Array.from(instructions.flat())
}

function aarch64Code(noteDistance: number): Uint8Array {
  // adr is relative to itself, the third instruction.
  const text = noteDistance + sentenceOffset - 8
  const words = [
    movz(8, 64), // write
    movz(0, 2), // stderr
    adr(1, text),
    movz(2, sentenceSize),
    0xd400_0001, // svc #0
    movz(8, 94), // exit_group
    movz(0, 126),
    0xd400_0001, // svc #0
    0xd420_0000, // brk #0
  ]
  return Uint8Array.from(words.flatMap((word) => u32(word)))
}

function movz(register: number, value: number): number {
  return 0xd280_0000 + value * 32 + register
}

/** `adr`: the low 2 bits of the distance stand in bits 29 and 30, the other 19 in bits 5 to 23. */
function adr(register: number, distance: number): number {
  return 0x1000_0000 + (distance % 4) * 2 ** 29 + Math.floor(distance / 4) * 32 + register
}

function u32(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => Math.floor(value / 2 ** shift) % 256)
}
