/**
 * zod, for programs that must start soon: to evaluate it, and to make its schemas, costs more than the rest of a container's start
 * together. Here a schema is only noted down, and a value in its usual form is read by those notes; zod is asked about every other,
 * and says what is wrong with it, or that nothing is. So the notes may know less than zod, and never more: what they take, zod takes,
 * with the same result. Whatever they do not know (another kind of schema, another option) is zod's. The build puts this in the place
 * of `import { z } from "zod"`; tests hold both against each other.
 */
import type { z } from "zod"

type Zod = typeof z
/** Returns what zod would; throws `wrong` where zod would refuse it, `foreign` where it is not known. */
type Read = (value: unknown) => unknown

/** What is known of a schema. */
interface Note {
  readonly read: Read
  /** What stands for a field that is absent; undefined: it must be there. */
  readonly absent?: () => unknown
  /** Of an object. */
  readonly fields?: { readonly shape: Shape; readonly others: Others }
  /** Of text, which may name the fields of a record. */
  readonly isText?: boolean
}

type Shape = Readonly<Record<string, unknown>>
type Others = "none" | "dropped" | "kept"
/** Undefined: the note does not cover it. */
type Maker = (...words: readonly never[]) => Note | undefined
type Modifier = (note: Note, ...words: readonly never[]) => Note | undefined

const wrong = Symbol("wrong")
const foreign = Symbol("foreign")

function no(why: symbol = wrong): never {
  // oxlint-disable-next-line typescript/only-throw-error -- a signal within this file: an error would be made for its stack
  throw why
}

/** What is behind a schema that was given out here. */
const behind = new WeakMap<object, { readonly note: Note | undefined; real(): unknown }>()

function noteOf(word: unknown): Note | undefined {
  return behind.get(word as object)?.note
}

/** A word of a call as zod must get it. */
function realOf(word: unknown): unknown {
  if (typeof word !== "object" || word === null) return word
  const known = behind.get(word)
  if (known !== undefined) return known.real()
  if (Array.isArray(word)) return word.map(realOf)
  if (Object.getPrototypeOf(word) !== Object.prototype) return word
  return Object.fromEntries(Object.entries(word).map(([name, inside]) => [name, realOf(inside)]))
}

type Call = (...words: unknown[]) => unknown

function member(of: object, name: string): unknown {
  return (of as Readonly<Record<string, unknown>>)[name]
}

/** `load` is called when zod is needed. */
export function lazyZod(load: () => Zod): Zod {
  return new Proxy({} as Zod, {
    get(_, name: string) {
      const invoke = (words: readonly unknown[]) =>
        (member(load(), name) as Call)(...words.map(realOf))
      const maker = Object.hasOwn(makers, name) ? makers[name] : undefined
      if (maker !== undefined)
        return (...words: readonly never[]) => schema(() => invoke(words), maker(...words))
      if (name === "iso") return lazyZod(() => load().iso as unknown as Zod)
      const found = member(load(), name)
      return typeof found === "function" ? (...words: unknown[]) => invoke(words) : found
    },
  })
}

function schema(make: () => unknown, note: Note | undefined): object {
  let made: z.ZodType | undefined
  const real = () => (made ??= make() as z.ZodType)
  const invoke = (name: string, words: readonly unknown[]) =>
    (member(real(), name) as Call).apply(real(), words.map(realOf))
  const known: Record<string, unknown> = {
    parse: (value: unknown) => {
      const read = usual(note, value)
      return read === foreign ? real().parse(value) : read
    },
    safeParse: (value: unknown) => {
      const read = usual(note, value)
      return read === foreign ? real().safeParse(value) : { success: true, data: read }
    },
    ...(note?.fields === undefined ? {} : { shape: note.fields.shape }),
  }
  const out = new Proxy(known, {
    get(_, name: string) {
      if (Object.hasOwn(known, name)) return known[name]
      // A promise has it, and whoever awaits a schema asks.
      if (name === "then") return undefined
      const modify = Object.hasOwn(modifiers, name) ? modifiers[name] : undefined
      if (modify !== undefined)
        return (...words: readonly never[]) =>
          schema(() => invoke(name, words), note === undefined ? undefined : modify(note, ...words))
      const found = member(real(), name)
      return typeof found === "function" ? (found.bind(real()) as unknown) : found
    },
  })
  behind.set(out, { note, real })
  return out
}

/** `foreign`: ask zod. */
function usual(note: Note | undefined, value: unknown): unknown {
  if (note === undefined || value === undefined) return foreign
  try {
    return note.read(value)
  } catch (error) {
    if (error === wrong || error === foreign) return foreign
    throw error
  }
}

/** The note, if nothing but messages was asked for. */
function said(options: unknown, note: Note | undefined): Note | undefined {
  const messages =
    options === undefined ||
    typeof options === "string" ||
    Object.keys(options as object).every((name) => name === "error")
  return messages ? note : undefined
}

function check(note: Note, isGood: (value: never) => boolean, options?: unknown): Note | undefined {
  const { read, absent, isText = false } = note
  if (absent !== undefined) return undefined
  return said(options, {
    isText,
    read: (value) => {
      const inside = read(value)
      const good: unknown = isGood(inside as never)
      if (good === true) return inside
      return no(good === false ? wrong : foreign)
    },
  })
}

const text: Note = { isText: true, read: (value) => (typeof value === "string" ? value : no()) }
const anything: Note = { read: (value) => value, absent: () => no(foreign) }

function plain(is: (value: unknown) => boolean): Note {
  return { read: (value) => (is(value) ? value : no()) }
}

/** Of text and lists how long, of numbers how great. */
function sizeOf(value: string | readonly unknown[] | number): number {
  return typeof value === "number" ? value : value.length
}

function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice()
  return typeof value === "object" && value !== null ? { ...value } : value
}

const makers: Readonly<Record<string, Maker>> = {
  string: (options) => said(options, text),
  number: (options) => said(options, plain(Number.isFinite)),
  int: (options) => said(options, plain(Number.isSafeInteger)),
  boolean: (options) =>
    said(
      options,
      plain((value) => typeof value === "boolean"),
    ),
  null: (options) =>
    said(
      options,
      plain((value) => value === null),
    ),
  unknown: () => anything,
  literal: (word: unknown, options) =>
    typeof word === "object"
      ? undefined
      : said(
          options,
          plain((value) => value === word),
        ),
  enum: (words: unknown, options) =>
    Array.isArray(words)
      ? said(
          options,
          plain((value) => words.includes(value)),
        )
      : undefined,
  array: (item, options) => said(options, listOf(noteOf(item))),
  record: (key, item, options) => said(options, recordOf(key, item)),
  union: (choices, options) => said(options, unionOf(choices)),
  // Each of its choices has another literal in that field: so one takes it at most.
  discriminatedUnion: (_, choices, options) => said(options, unionOf(choices)),
  strictObject: (shape, options) => said(options, objectOf(shape, "none")),
  object: (shape, options) => said(options, objectOf(shape, "dropped")),
  looseObject: (shape, options) => said(options, objectOf(shape, "kept")),
  base64: () => undefined,
  datetime: () => undefined,
}

const modifiers: Readonly<Record<string, Modifier>> = {
  optional: ({ read, absent = () => undefined }) => ({ read, absent }),
  nullish: ({ read, absent = () => undefined }) => ({
    read: (value) => (value === null ? value : read(value)),
    absent,
  }),
  default: ({ read }, value: unknown) =>
    typeof value === "function" ? undefined : { read, absent: () => copyOf(value) },
  prefault: ({ read }, value: unknown) =>
    typeof value === "function" ? undefined : { read, absent: () => read(value) },
  array: (note, options) => said(options, listOf(note)),
  min: (note, least: number, options) =>
    check(note, (value: string) => sizeOf(value) >= least, options),
  max: (note, most: number, options) =>
    check(note, (value: string) => sizeOf(value) <= most, options),
  length: (note, size: number, options) =>
    check(note, (value: string) => value.length === size, options),
  int: (note, options) => check(note, Number.isSafeInteger, options),
  multipleOf: (note, step: number, options) =>
    check(
      note,
      (value) => (Number.isSafeInteger(value) ? value % step === 0 : no(foreign)),
      options,
    ),
  regex: (note, pattern: RegExp, options) =>
    pattern.flags === "" || pattern.flags === "u"
      ? check(note, (value) => pattern.test(value), options)
      : undefined,
  refine: (note, isGood: (value: never) => boolean, options) => check(note, isGood, options),
  transform: ({ read, absent }, change: (value: unknown, context: unknown) => unknown) =>
    absent === undefined
      ? { read: (value) => settled(change(read(value), { addIssue: () => no() })) }
      : undefined,
  extend: ({ fields }, more: Shape) =>
    fields === undefined ? undefined : objectOf({ ...fields.shape, ...more }, fields.others),
  omit: ({ fields }, names: Shape) => {
    const kept = Object.entries(fields?.shape ?? {}).filter(([name]) => !Object.hasOwn(names, name))
    return fields === undefined ? undefined : objectOf(Object.fromEntries(kept), fields.others)
  },
  catchall: () => undefined,
}

function settled(value: unknown): unknown {
  return value instanceof Promise ? no(foreign) : value
}

function listOf(note: Note | undefined): Note | undefined {
  if (note === undefined) return undefined
  const read = presentOf(note)
  return { read: (value) => (Array.isArray(value) ? Array.from(value, read) : no()) }
}

function presentOf({ read }: Note): Read {
  return (value) => {
    const inside = value === undefined ? undefined : read(value)
    return inside === undefined ? no(foreign) : inside
  }
}

function unionOf(choices: readonly unknown[]): Note | undefined {
  const notes = choices.map(noteOf)
  if (!notes.every((note) => note !== undefined && note.absent === undefined)) return undefined
  const reads = notes.flatMap((note) => note?.read ?? [])
  return {
    read: (value) => {
      for (const read of reads)
        try {
          return read(value)
        } catch (error) {
          if (error !== wrong) throw error
        }
      return no()
    },
  }
}

function recordOf(key: unknown, item: unknown): Note | undefined {
  const [names, items] = [noteOf(key), noteOf(item)]
  if (names?.isText !== true || items === undefined) return undefined
  const inside = presentOf(items)
  return {
    read: (value) =>
      Object.fromEntries(
        Object.entries(plainObject(value)).map(([name, one]) => [
          names.read(name) as string,
          inside(one),
        ]),
      ),
  }
}

/** In the order of the shape; kept ones come after. */
function objectOf(shape: Shape, others: Others): Note | undefined {
  const notes = Object.entries(shape).map(([name, field]) => [name, noteOf(field)] as const)
  const known = notes.flatMap(([name, note]) =>
    note === undefined ? [] : [{ name, absent: note.absent, present: presentOf(note) }],
  )
  if (known.length < notes.length) return undefined
  const read = (value: unknown) => {
    const given = plainObject(value)
    const out: Record<string, unknown> = {}
    for (const { name, absent = no, present } of known) {
      const inside = Object.hasOwn(given, name) ? present(given[name]) : absent()
      if (inside !== undefined) out[name] = inside
    }
    if (others === "dropped") return out
    for (const [name, inside] of Object.entries(given)) {
      if (Object.hasOwn(shape, name)) continue
      if (others === "none") no()
      out[name] = inside
    }
    return out
  }
  return { read, fields: { shape, others } }
}

/** As it comes out of `JSON.parse`. */
function plainObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return no()
  const isPlain = Object.getPrototypeOf(value) === Object.prototype
  return isPlain && !Object.hasOwn(value, "__proto__")
    ? (value as Record<string, unknown>)
    : no(foreign)
}
