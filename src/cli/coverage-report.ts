import { displayName } from "../bytes/index.ts"
import type { Coverage, FileSum } from "../protect/index.ts"
import type { Trace } from "../shield/index.ts"
import type { Io } from "./io.ts"
import { formatSize } from "./progress.ts"

const mostLines = 12

/** For people, on stderr: what was used, what is kept, what is left out, what was looked for in vain. */
export function reportCoverage(io: Io, coverage: Coverage, minimised: boolean): void {
  const { all, read, looked, declared, leftOut } = coverage
  const share = all.size === 0 ? 100 : Math.round((100 * (all.size - leftOut.size)) / all.size)
  io.warn(`used       ${sum(read)} read, ${looked.count} more looked at`)
  if (declared.count > 0) io.warn(`declared   ${sum(declared)}`)
  const verb = minimised ? "kept     " : "to keep  "
  const keptSum = { count: all.count - leftOut.count, size: all.size - leftOut.size }
  io.warn(`${verb}  ${sum(keptSum)} of ${sum(all)}, ${share} %`)
  list(
    io,
    minimised ? "left out " : "not used ",
    coverage.leftOutBelow.map((one) => `${displayName(one.path)}  ${sum(one)}`),
  )
  list(
    io,
    "missed   ",
    coverage.missed.map((path) => displayName(path)),
  )
  if (coverage.shorterListings.length > 0)
    list(
      io,
      "shorter  ",
      coverage.shorterListings.map((path) => `${displayName(path)} was listed`),
    )
}

function list(io: Io, title: string, lines: readonly string[]): void {
  for (const line of lines.slice(0, mostLines)) io.warn(`${title}  ${line}`)
  const more = lines.length - mostLines
  if (more > 0) io.warn(`${title}  … and ${more} more: --json, or --trace-file FILE, has all`)
}

function sum({ count, size }: FileSum): string {
  return `${count} files, ${formatSize(size)}`
}

/** For `--json`. */
export function coverageJson(coverage: Coverage, trace: Trace): unknown {
  const { all, read, looked, declared, leftOut } = coverage
  return {
    files: { all, read, looked, declared, leftOut },
    leftOut: coverage.leftOutBelow.map((one) => ({ ...one, path: displayName(one.path) })),
    missed: coverage.missed.map((path) => displayName(path)),
    shorterListings: coverage.shorterListings.map((path) => displayName(path)),
    read: [...trace.read].toSorted().map((path) => displayName(path)),
    looked: [...trace.looked].toSorted().map((path) => displayName(path)),
  }
}
