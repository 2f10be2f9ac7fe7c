import assert from "node:assert/strict"
import { test } from "node:test"
import { structSize, tableFaults, toHex } from "../bytes/index.ts"
import { fileHeader, programHeader, sectionHeader } from "./head.ts"
import { emitHead, emitSentenceNote, emitStub, sectionTypes, sentenceOf } from "./index.ts"

test("the fields of the ELF structures touch and add up", () => {
  assert.deepEqual(tableFaults(fileHeader, 64), [])
  assert.deepEqual(tableFaults(programHeader, 56), [])
  assert.deepEqual(tableFaults(sectionHeader, 64), [])
  assert.equal(structSize(sectionHeader), 64)
})

function code(machine: "x86-64" | "aarch64", size: number): string {
  return toHex(emitStub(machine, 0x1000, 4096).subarray(0, size))
}

test("the stubs are these instructions", () => {
  assert.equal(
    code("x86-64", 40),
    "b801000000bf02000000488d3503100000ba710000000f05b8e7000000bf7e0000000f050f0b0000",
  )
  assert.equal(
    code("aarch64", 36),
    "080880d2400080d261800010220e80d2010000d4c80b80d2c00f80d2010000d4000020d4",
  )
})

test("the note holds the sentence at a fixed place, with a fixed size", () => {
  const note = emitSentenceNote("ab".repeat(32))
  assert.equal(toHex(note.subarray(0, 12)), "070000007100000001000000")
  assert.equal(Buffer.from(note.subarray(20, 20 + 113)).toString(), sentenceOf("ab".repeat(32)))
  assert.throws(() => emitSentenceNote("ab"), TypeError)
})

test("a head that does not fit is our own mistake", () => {
  const section = {
    name: ".text",
    type: sectionTypes.data,
    loaded: "code",
    offset: 4096,
    size: 4096,
    align: 4096,
  } as const
  const head = { machine: "x86-64", load: { offset: 4096, size: 8192 } } as const
  assert.throws(() => emitHead({ ...head, sections: [section] }, 256), TypeError)
  assert.equal(emitHead({ ...head, sections: [section] }, 4096).length, 4096)
})
