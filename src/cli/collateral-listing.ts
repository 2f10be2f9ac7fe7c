import {
  type CollateralItem,
  listCollateral,
  loadCollateral,
  missingCollateral,
} from "../attest/index.ts"
import type { Io } from "./io.ts"

export type Vendor = "intel" | "amd"

export interface CollateralView {
  readonly items: readonly CollateralItem[]
  readonly missing: Readonly<Record<Vendor, readonly string[]>>
}

/** What files and folders of collateral hold at `now`, unix seconds. */
export function viewCollateral(paths: readonly string[], now: number): CollateralView {
  const items = listCollateral(loadCollateral(paths), now)
  return {
    items,
    missing: {
      intel: missingCollateral(items, "intel"),
      amd: missingCollateral(items, "amd"),
    },
  }
}

export function printCollateral({ items, missing }: CollateralView, io: Io): void {
  for (const { kind, subject, from, until, state } of items)
    io.print(`${state.padEnd(10)}  ${kind.padEnd(15)}  ${day(from)}  ${day(until)}  ${subject}`)
  for (const [vendor, names] of Object.entries(missing))
    if (names.length > 0) io.print(`missing for ${vendor}: ${names.join(", ")}`)
}

function day(time: number | undefined): string {
  return time === undefined ? "-".padEnd(16) : new Date(time * 1000).toISOString().slice(0, 16)
}
