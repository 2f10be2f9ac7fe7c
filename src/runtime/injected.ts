import { chownSync, mkdirSync, writeFileSync } from "node:fs"
import type { Answer } from "../cas/index.ts"
import type { IdMaps } from "../fuse/index.ts"
import type { RuncConfig } from "./bundle.ts"
import { ownerOutside } from "./id-mappings.ts"

interface Target {
  readonly place: string
  readonly ids: IdMaps | undefined
}

/**
 * The configuration with what the stakeholder's policy gives: arguments, environment, files. It comes attested and
 * encrypted from the CAS, so the manifest's patterns, which are for the host, do not apply to it.
 */
export function withConfiguration(
  config: RuncConfig,
  answer: Answer | undefined,
  { place, ids }: Target,
): RuncConfig {
  if (answer === undefined) return config
  const given = Object.entries(answer.env)
  const names = new Set(given.map(([name]) => name))
  const own = config.process.env.filter((line) => !names.has(line.slice(0, line.indexOf("="))))
  const env = [...own, ...given.map(([name, value]) => `${name}=${value}`)]
  const files = answer.files.map((file, i) => ({
    destination: file.path,
    type: "bind",
    source: writeInjected(file, { place, ids }, i),
    options: ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
  }))
  return {
    ...config,
    process: { ...config.process, args: answer.argv ?? config.process.args, env },
    mounts: [...config.mounts, ...files],
  }
}

function writeInjected(file: Answer["files"][number], { place, ids }: Target, i: number): string {
  const directory = `${place}/files`
  const { uid, gid } = ownerOutside(file, ids, file.path)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = `${directory}/${i}`
  writeFileSync(path, Buffer.from(file.content, "base64"), { mode: Number.parseInt(file.mode, 8) })
  chownSync(path, uid, gid)
  return path
}
