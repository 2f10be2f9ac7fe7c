import type { Row } from "./rows.ts"

export interface SystemMedians {
  readonly name: string
  readonly note: string
  readonly figures: Readonly<Record<string, number>>
  readonly cpuSeconds: number
  readonly peakRss: number
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "-"
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3)
}

/** Markdown: for each row the native figure, and for the others figure and ratio to native; the last column says how coffer stands to the best peer. */
export function table(systems: readonly SystemMedians[], rows: readonly Row[]): string {
  const native = systems.find(({ name }) => name === "native")
  const coffer = systems.find(({ name }) => name === "coffer")
  const peers = systems.filter(({ name }) => name !== "native" && !name.startsWith("coffer"))
  const header = ["row", "unit", ...systems.map(({ name }) => name), "coffer / best peer"]
  const lines = rows.map(({ name, unit }) => {
    const base = native?.figures[name] ?? Number.NaN
    const cells = systems.map((system) => {
      const value = system.figures[name] ?? Number.NaN
      return system === native ? figure(value) : `${figure(value)} (${(value / base).toFixed(2)})`
    })
    const best = Math.max(...peers.map((peer) => peer.figures[name] ?? 0))
    return [name, unit, ...cells, ((coffer?.figures[name] ?? Number.NaN) / best).toFixed(2)]
  })
  const use = [
    ["daemon CPU", "s", ...systems.map(({ cpuSeconds }) => figure(cpuSeconds)), ""],
    ["daemon peak RSS", "MiB", ...systems.map(({ peakRss }) => figure(peakRss / (1 << 20))), ""],
  ]
  const notes = systems.map(({ name, note }) => `* ${name}: ${note}`).join("\n")
  const markdown = [header, header.map(() => "---"), ...lines, ...use].map(
    (cells) => `| ${cells.join(" | ")} |`,
  )
  return `${markdown.join("\n")}\n\n(in brackets: ratio to native)\n\n${notes}\n`
}
