/** A client of the CRI, as the kubelet is one: gRPC over a Unix socket, with the few messages that tests need. */
import { type ClientHttp2Session, connect } from "node:http2"
import { createConnection } from "node:net"

/** A protobuf message by field numbers: text, whole numbers, truth values, messages, and lists of them. */
export interface Message {
  readonly [field: number]: string | number | boolean | Message | readonly (string | Message)[]
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(Math.floor(value / 0x80))]
}

type Value = Message[number]

function isList(value: Value): value is readonly (string | Message)[] {
  return Array.isArray(value)
}

function encodeField(field: number, value: Value): number[] {
  if (isList(value)) return value.flatMap((one) => encodeField(field, one))
  if (typeof value === "number") return [...varint(field * 8), ...varint(value)]
  if (typeof value === "boolean") return encodeField(field, value ? 1 : 0)
  const body = typeof value === "string" ? Buffer.from(value) : encode(value)
  return [...varint(field * 8 + 2), ...varint(body.length), ...body]
}

function encode(message: Message): Buffer {
  const fields = Object.keys(message).map(Number)
  return Buffer.from(fields.flatMap((field) => encodeField(field, message[field] ?? [])))
}

/** A map<string, string>. */
export function mapField(record: Readonly<Record<string, string>>): Message[] {
  return Object.entries(record).map(([key, value]) => ({ 1: key, 2: value }))
}

/** The first value of each field: a number, or bytes. */
export type Decoded = ReadonlyMap<number, number | Buffer>

export function decode(bytes: Buffer): Decoded {
  const fields = new Map<number, number | Buffer>()
  let at = 0
  const number = () => {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      const byte = bytes[at++] ?? 0
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }
  while (at < bytes.length) {
    const tag = number()
    const first = number()
    const value = tag % 8 === 2 ? bytes.subarray(at, (at += first)) : first
    if (!fields.has(Math.floor(tag / 8))) fields.set(Math.floor(tag / 8), value)
  }
  return fields
}

export function textOf(fields: Decoded, field: number): string {
  return String(fields.get(field) ?? "")
}

export class CriClient {
  readonly #session: ClientHttp2Session

  constructor(socket: string) {
    this.#session = connect("http://localhost", {
      createConnection: () => createConnection(socket),
    })
    this.#session.on("error", () => undefined)
  }

  close(): void {
    this.#session.destroy()
  }

  /** Rejects with the server's own words. */
  call(method: string, message: Message): Promise<Decoded> {
    const body = encode(message)
    const head = Buffer.alloc(5)
    head.writeUInt32BE(body.length, 1)
    const stream = this.#session.request({
      ":method": "POST",
      ":path": `/runtime.v1.RuntimeService/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    })
    stream.end(Buffer.concat([head, body]))
    return new Promise((resolve, reject) => {
      const parts: Buffer[] = []
      let failed: string | undefined
      const look = (headers: Readonly<Record<string, unknown>>) => {
        const status = headers["grpc-status"]
        if (status !== undefined && status !== "0") failed = String(headers["grpc-message"])
      }
      stream.on("response", look)
      stream.on("trailers", look)
      stream.on("data", (part: Buffer) => parts.push(part))
      stream.on("error", reject)
      stream.on("end", () => {
        if (failed === undefined) resolve(decode(Buffer.concat(parts).subarray(5)))
        else reject(new Error(`${method}: ${decodeURIComponent(failed)}`))
      })
    })
  }
}
