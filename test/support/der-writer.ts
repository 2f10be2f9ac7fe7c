/** A small DER writer for tests: what the readers in `src/der` read is made here, right and wrong. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length), content])
}

function lengthOf(size: number): Uint8Array {
  if (size < 0x80) return Buffer.from([size])
  const bytes: number[] = []
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  return Buffer.from([0x80 | bytes.length, ...bytes])
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...parts)
}

export function integer(value: number | Uint8Array): Uint8Array {
  const raw = typeof value === "number" ? numberBytes(value) : value
  const first = raw[0] ?? 0
  return der(0x02, (first & 0x80) === 0 ? raw : Buffer.concat([Buffer.from([0]), raw]))
}

function numberBytes(value: number): Uint8Array {
  const hex = value.toString(16)
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex")
}

export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number)
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f]
    for (let more = Math.floor(arc / 128); more > 0; more = Math.floor(more / 128))
      groups.unshift((more & 0x7f) | 0x80)
    return groups
  })
  return der(0x06, Buffer.from(bytes))
}

export function octets(bytes: Uint8Array): Uint8Array {
  return der(0x04, bytes)
}

export function bits(bytes: Uint8Array): Uint8Array {
  return der(0x03, Buffer.from([0]), bytes)
}

export function boolean(value: boolean): Uint8Array {
  return der(0x01, Buffer.from([value ? 0xff : 0]))
}

export function utf8String(text: string): Uint8Array {
  return der(0x0c, Buffer.from(text, "utf8"))
}

export function ia5String(text: string): Uint8Array {
  return der(0x16, Buffer.from(text, "latin1"))
}

/** Unix seconds as UTCTime to 2049, then GeneralizedTime. */
export function time(seconds: number): Uint8Array {
  const text = `${new Date(seconds * 1000).toISOString().replaceAll(/[-:T]/g, "").slice(0, 14)}Z`
  return text < "2050" ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text))
}

export function explicit(n: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return der(0xa0 | n, ...parts)
}
