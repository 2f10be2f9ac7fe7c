import type { Io } from "./io.ts"

/** What long work calls: bytes done, and of how many (undefined when that is not known yet). */
export type OnProgress = (done: number, total: number | undefined) => void

export interface Progress {
  readonly update: OnProgress
  /** Wipes the bar. Call it once, also after an error. */
  end(): void
}

const intervalMs = 100

/** A bar on stderr when that is a terminal, else nothing at all. */
export function progressBar(io: Io, title: string): Progress {
  if (!io.terminal) return { update: () => undefined, end: () => undefined }
  let last = 0
  const begin = performance.now()
  return {
    update(done, total) {
      const now = performance.now()
      if (now - last < intervalMs && done !== total) return
      last = now
      io.warnRaw(`\r\x1b[K${barLine(title, done, total, (now - begin) / 1000, io.columns)}`)
    },
    end() {
      if (last !== 0) io.warnRaw("\r\x1b[K")
    },
  }
}

export function barLine(
  title: string,
  done: number,
  total: number | undefined,
  seconds: number,
  columns: number,
): string {
  const rate = seconds > 0.5 ? `  ${formatSize(done / seconds)}/s` : ""
  if (total === undefined || total === 0) return `${title}  ${formatSize(done)}${rate}`
  const share = Math.min(1, done / total)
  const tail = `${String(Math.floor(share * 100)).padStart(3)} %  ${formatSize(done)} of ${formatSize(total)}${rate}`
  const width = Math.max(0, Math.min(40, columns - title.length - tail.length - 7))
  const full = Math.round(width * share)
  return `${title}  [${"#".repeat(full)}${"-".repeat(width - full)}]  ${tail}`
}

/** Binary units: `1.5 MiB`. */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? String(Math.round(value)) : value.toFixed(1)} ${units[unit] ?? ""}`
}
