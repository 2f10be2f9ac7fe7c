import { writeSync } from "node:fs"
import { Command } from "commander"
import { toHex } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import {
  looksLikeSdkEnclave,
  looksSealed,
  measurePages,
  measureSdkEnclave,
  readSealed,
} from "../../seal/index.ts"
import { describeFields, type RecordSink, SgxsReader } from "../../sgx/index.ts"
import type { ByteSource } from "../../verity/index.ts"
import type { Io } from "../io.ts"
import { progressBar } from "../progress.ts"
import { binaryOrImage, withSubject } from "../sealed-file.ts"
import { writeWhole } from "../whole-file.ts"

interface Options {
  readonly sgxs?: string
  readonly json?: true
}

type Measured = Readonly<Record<string, unknown>> & { readonly mrEnclave: string }

/** `coffer measure FILE`: MrEnclave of a sealed binary (in its file or in an image), an `.sgxs` stream, or an enclave of the SGX SDK. */
export function measureCommand(io: Io): Command {
  return new Command("measure")
    .description("print MrEnclave")
    .argument("<file>", `${binaryOrImage}; or .sgxs stream, or signed enclave of Intel's SDK`)
    .option("--sgxs <file>", "write the stream of SGX records: its SHA-256 is MrEnclave")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
The files in a sealed binary are in MrEnclave by the root hash of their hash tree; coffer binfs verify compares them all.

Example:
  coffer measure shop.sealed --sgxs shop.sgxs && sha256sum shop.sgxs
  coffer measure localhost/shop:1-protected`,
    )
    .action(async (file: string, options: Options) => {
      const found = await withSubject(file, io, (source) => measure(source, file, options, io))
      io.print(options.json === true ? JSON.stringify(found) : found.mrEnclave)
    })
}

function measure(source: ByteSource, file: string, options: Options, io: Io): Measured {
  const start = new Uint8Array(Math.min(source.size, 0x5000))
  source.read(start, 0)
  const tag = Buffer.from(start.subarray(0, 8)).toString("latin1")
  if (tag === "ECREATE\0" || tag === "UNSIZED\0") return measureStream(source, options, io)
  if (looksSealed(start)) return measureSealed(source, options)
  if (tag.startsWith("\x7fELF") && source.size <= maxSdkSize) {
    const bytes = new Uint8Array(source.size)
    source.read(bytes, 0)
    if (looksLikeSdkEnclave(bytes)) return measureSdk(bytes, options)
  }
  throw new CofferError(
    "config",
    `${file}: wanted a sealed binary or an .sgxs stream, found something else`,
    { hint: "make a sealed binary with: coffer seal DIR OUT --manifest coffer.yaml" },
  )
}

function measureSealed(source: ByteSource, options: Options): Measured {
  const binary = readSealed(source)
  if (options.sgxs !== undefined)
    writeStream(options.sgxs, (sink) => measurePages(binary.stub, binary.manifestPages, sink))
  return {
    kind: "sealed-binary",
    mrEnclave: toHex(binary.mrEnclave),
    arch: binary.manifest.arch,
    name: binary.manifest.name,
    debug: binary.manifest.debug,
    signature: binary.signature === undefined ? null : describeFields(binary.signature),
  }
}

/** Bytes: such an enclave is read into memory whole. */
const maxSdkSize = 1 << 30

function measureSdk(bytes: Uint8Array, options: Options): Measured {
  if (options.sgxs !== undefined)
    writeStream(options.sgxs, (sink) => {
      measureSdkEnclave(bytes, sink)
    })
  const { mrEnclave, signature } = measureSdkEnclave(bytes)
  return {
    kind: "sgx-sdk-enclave",
    mrEnclave: toHex(mrEnclave),
    signature: describeFields(signature),
  }
}

function writeStream(file: string, emit: (sink: RecordSink) => void): void {
  writeWhole(file, {}, (fd) => {
    emit((bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    })
  })
}

const pieceSize = 1 << 20

function measureStream(source: ByteSource, options: Options, io: Io): Measured {
  if (options.sgxs !== undefined)
    throw new CofferError("usage", "--sgxs: wanted a sealed binary, found a stream already")
  const reader = new SgxsReader()
  const bar = progressBar(io, "measuring")
  try {
    for (let at = 0; at < source.size; at += pieceSize) {
      const piece = new Uint8Array(Math.min(pieceSize, source.size - at))
      source.read(piece, at)
      reader.update(piece)
      bar.update(at + piece.length, source.size)
    }
  } finally {
    bar.end()
  }
  const { mrEnclave, ...counts } = reader.finish()
  return { kind: "sgxs-stream", mrEnclave: toHex(mrEnclave), ...counts }
}
