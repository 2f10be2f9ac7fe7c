import type { Row } from "./rows.ts"

export interface SystemMedians {
  readonly name: string
  readonly note: string
  readonly figures: Readonly<Record<string, number>>
  readonly cpuSeconds: number
  readonly peakRss: number
}

export interface Verdict {
  readonly row: string
  /** The mode of coffer: what it is called in the table. */
  readonly system: string
  readonly goal: string
  readonly bestPeer: string | undefined
  /** Coffer's figure over the best peer's; undefined when there is no peer. */
  readonly ratio: number | undefined
  readonly ratioToNative: number | undefined
  /** Undefined when what it is compared with was not measured. */
  readonly met: boolean | undefined
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "-"
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3)
}

function isCoffer({ name }: SystemMedians): boolean {
  return name.startsWith("coffer")
}

function goalText({ goal }: Row): string {
  const aside = goal.synced ? ", cryfs aside" : ""
  const native = goal.native === undefined ? "" : `, ${goal.native} × native`
  return `${goal.peers} × best peer${native}${aside}`
}

/** Whether each mode of coffer meets each row's goal. */
export function verdicts(systems: readonly SystemMedians[], rows: readonly Row[]): Verdict[] {
  const native = systems.find(({ name }) => name === "native")
  return rows.flatMap((row) => {
    const [best] = systems
      .filter((system) => !isCoffer(system) && system !== native)
      .filter(({ name }) => !(row.goal.synced && name === "cryfs"))
      .toSorted((a, b) => (b.figures[row.name] ?? 0) - (a.figures[row.name] ?? 0))
    return systems
      .filter(isCoffer)
      .map((system) => verdictOf(row, system, best, native?.figures[row.name]))
  })
}

function verdictOf(
  row: Row,
  system: SystemMedians,
  best: SystemMedians | undefined,
  native: number | undefined,
): Verdict {
  const value = system.figures[row.name] ?? Number.NaN
  const peer = best?.figures[row.name]
  const ratio = peer === undefined ? undefined : value / peer
  const ratioToNative = native === undefined ? undefined : value / native
  const { goal } = row
  const known = ratio !== undefined && (goal.native === undefined || ratioToNative !== undefined)
  const met = known
    ? ratio >= goal.peers && (goal.native === undefined || (ratioToNative ?? 0) >= goal.native)
    : undefined
  const { name } = system
  return {
    row: row.name,
    system: name,
    goal: goalText(row),
    bestPeer: best?.name,
    ratio,
    ratioToNative,
    met,
  }
}

function markdown(header: readonly string[], lines: readonly (readonly string[])[]): string {
  return [header, header.map(() => "---"), ...lines]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n")
}

/** Markdown: for each row the native figure, and for the others figure and ratio to native. */
export function table(systems: readonly SystemMedians[], rows: readonly Row[]): string {
  const native = systems.find(({ name }) => name === "native")
  const lines = rows.map(({ name, unit }) => {
    const base = native?.figures[name]
    const cells = systems.map((system) => {
      const value = system.figures[name] ?? Number.NaN
      if (system === native || base === undefined || Number.isNaN(value)) return figure(value)
      return `${figure(value)} (${(value / base).toFixed(2)})`
    })
    return [name, unit, ...cells]
  })
  const use = [
    ["daemon CPU", "s", ...systems.map(({ cpuSeconds }) => figure(cpuSeconds))],
    ["daemon peak RSS", "MiB", ...systems.map(({ peakRss }) => figure(peakRss / (1 << 20)))],
  ]
  const notes = systems.map(({ name, note }) => `* ${name}: ${note}`).join("\n")
  const header = ["row", "unit", ...systems.map(({ name }) => name)]
  return `${markdown(header, [...lines, ...use])}\n\n(in brackets: ratio to native)\n\n${notes}\n`
}

/** Markdown: the goal of each row, and whether each mode of coffer meets it. */
export function verdictTable(all: readonly Verdict[]): string {
  const names = [...new Set(all.map(({ system }) => system))]
  const rows = [...new Set(all.map(({ row }) => row))]
  const cell = (verdict: Verdict | undefined): string => {
    if (verdict?.ratio === undefined) return "-"
    const native = verdict.goal.includes("native")
      ? `, ${(verdict.ratioToNative ?? Number.NaN).toFixed(2)} of native`
      : ""
    const word = verdict.met === undefined ? "?" : verdict.met ? "met" : "NOT MET"
    return `${verdict.ratio.toFixed(2)}${native}: ${word}`
  }
  const lines = rows.map((row) => {
    const own = all.filter((verdict) => verdict.row === row)
    const cells = names.map((name) => cell(own.find(({ system }) => system === name)))
    return [row, own[0]?.goal ?? "", own[0]?.bestPeer ?? "-", ...cells]
  })
  const counts = names.map((name) => {
    const judged = all.filter(({ system, met }) => system === name && met !== undefined)
    return `${judged.filter(({ met }) => met).length} of ${judged.length} met`
  })
  return `${markdown(["row", "goal", "best peer", ...names], [...lines, ["all", "", "", ...counts]])}\n`
}
