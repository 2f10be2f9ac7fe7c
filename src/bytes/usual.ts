/**
 * Reads a value that came as JSON and has its usual form; throws `unusual` for any other. A schema library costs more than the rest
 * of a container's start together, so where one stands in the way of a start it is asked only about what is not usual: it then says
 * what is wrong, or that nothing is. So a reader may know less than its schema, and never more: what it takes, the schema takes,
 * with the same result. Tests hold them against each other.
 */
export type Usual<T> = (value: unknown) => T

const unusual = Symbol("unusual")

/** What it reads; undefined: ask the schema. */
export function usually<T>(read: Usual<T>, value: unknown): T | undefined {
  try {
    return read(value)
  } catch (error) {
    if (error === unusual) return undefined
    throw error
  }
}

function no(): never {
  // oxlint-disable-next-line typescript/only-throw-error -- a signal within this file: an error would be made for its stack
  throw unusual
}

export const anything: Usual<unknown> = (value) => value

export const flag: Usual<boolean> = (value) => (typeof value === "boolean" ? value : no())

export function text(isGood: (text: string) => boolean = () => true): Usual<string> {
  return (value) => (typeof value === "string" && isGood(value) ? value : no())
}

export function number(isGood: (number: number) => boolean = Number.isFinite): Usual<number> {
  return (value) => (typeof value === "number" && isGood(value) ? value : no())
}

export function oneOf<const T extends string>(...words: readonly T[]): Usual<T> {
  return (value) => words.find((word) => word === value) ?? no()
}

/** It may be absent. */
export function optional<T>(read: Usual<T>): Usual<T | undefined> {
  return (value) => (value === undefined ? undefined : read(value))
}

/** It may be absent, or null. */
export function nullish<T>(read: Usual<T>): Usual<T | null | undefined> {
  return (value) => (value === undefined || value === null ? value : read(value))
}

export function list<T>(read: Usual<T>, least = 0, most = Number.POSITIVE_INFINITY): Usual<T[]> {
  return (value) =>
    Array.isArray(value) && value.length >= least && value.length <= most ? value.map(read) : no()
}

export function dictionary<T>(
  name: Usual<string>,
  read: Usual<T>,
): Usual<Readonly<Record<string, T>>> {
  return (value) =>
    Object.fromEntries(
      Object.entries(plainObject(value)).map(([key, inside]) => [name(key), read(inside)]),
    )
}

/** `others`: what becomes of fields that are not listed. Kept ones come after the listed, as in a schema's result. */
export function fields<T extends Readonly<Record<string, Usual<unknown>>>>(
  others: "none" | "dropped" | "kept",
  listed: T,
): Usual<{ readonly [K in keyof T]: ReturnType<T[K]> }> {
  const readers = Object.entries(listed)
  return (value) => {
    const given = plainObject(value)
    const out: Record<string, unknown> = {}
    for (const [name, read] of readers) {
      const inside = read(Object.hasOwn(given, name) ? given[name] : undefined)
      if (inside !== undefined) out[name] = inside
    }
    if (others !== "dropped")
      for (const [name, inside] of Object.entries(given)) {
        if (Object.hasOwn(listed, name)) continue
        if (others === "none") no()
        out[name] = inside
      }
    return out as never
  }
}

/** One of several kinds of object, which a field of that name tells apart. */
export function byField<T>(field: string, kinds: Readonly<Record<string, Usual<T>>>): Usual<T> {
  return (value) => {
    const kind = plainObject(value)[field]
    const read = typeof kind === "string" && Object.hasOwn(kinds, kind) ? kinds[kind] : undefined
    return read === undefined ? no() : read(value)
  }
}

function plainObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return no()
  return Object.hasOwn(value, "__proto__") ? no() : (value as Record<string, unknown>)
}
