import {
  byField,
  dictionary,
  fields,
  flag,
  list,
  number,
  oneOf,
  optional,
  text,
  type Usual,
  usually,
} from "../bytes/index.ts"
import { machines } from "../elf/index.ts"
import type { MeasuredManifest, Region } from "./measured-schema.ts"
import {
  digestPattern,
  hashPattern,
  isCleanText,
  isNormalPath,
  isPattern,
  manifestFormat,
  maxId,
  maxPathLength,
  maxPatternLength,
  maxTextLength,
  namePattern,
  signals,
  variablePattern,
} from "./rules.ts"

const word = text((value) => value.length <= maxTextLength && isCleanText(value))
const path = text((value) => value.length <= maxPathLength && isNormalPath(value))
const pattern = text((value) => value.length <= maxPatternLength && isPattern(value))
const name = text((value) => namePattern.test(value))
const hash = text((value) => hashPattern.test(value))
const variable = text((value) => variablePattern.test(value) && value !== "__proto__")
const id = number((value) => Number.isSafeInteger(value) && value >= 0 && value <= maxId)
const offset = number((value) => Number.isSafeInteger(value) && value >= 0 && value % 4096 === 0)
const protection = oneOf("authenticated", "encrypted")

const region: Usual<Region> = byField<Region>("kind", {
  measured: strict({ kind: oneOf("measured"), path }),
  image: strict({
    kind: oneOf("image"),
    path,
    protection,
    store: name,
    exec: flag,
    tag: optional(hash),
  }),
  scratch: strict({
    kind: oneOf("scratch"),
    path,
    exec: flag,
    size: optional(number((size) => Number.isSafeInteger(size) && size >= 4096)),
  }),
  volume: strict({
    kind: oneOf("volume"),
    path,
    protection,
    volume: name,
    exec: flag,
    seed: flag,
  }),
  host: strict({
    kind: oneOf("host"),
    path,
    format: oneOf("resolv.conf", "hosts", "hostname", "file", "directory"),
  }),
})

const manifest = strict({
  format: oneOf(manifestFormat),
  arch: oneOf(...machines),
  name,
  binary: path,
  argv: list(word, 1, 4096),
  args: strict({ allow: list(pattern, 0, 256) }),
  cwd: path,
  user: strict({ uid: id, gid: id, groups: list(id, 0, 65_536) }),
  env: strict({ set: dictionary(variable, word), allow: dictionary(variable, pattern) }),
  exec: list(list(word, 1, 256), 0, 256),
  stdin: oneOf("none", "inherit"),
  readOnly: flag,
  debug: flag,
  stopSignal: oneOf(...signals),
  regions: list(region, 0, 1024),
  cas: optional(strict({ publicKey: hash })),
  source: optional(strict({ image: text((value) => digestPattern.test(value)) })),
  binfs: strict({ offset, size: offset }),
  verity: strict({ offset, size: offset, rootHash: hash }),
})

function strict<T extends Readonly<Record<string, Usual<unknown>>>>(listed: T) {
  return fields("none", listed)
}

/** The manifest, when the schema would take it as well; undefined: ask the schema. */
export function usualManifest(value: unknown): MeasuredManifest | undefined {
  return usually(manifest, value)
}
