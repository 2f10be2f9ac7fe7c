import { lstatSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem } from "../errors.ts"
import {
  type Collateral,
  type CollateralFile,
  collateralFileMax,
  parseCollateral,
} from "./collateral.ts"

const depthMax = 4
const fileCountMax = 4096

/**
 * Reads collateral from files and folders (with the folders in them). In a folder, what is no collateral is skipped;
 * a file that was named must be some. A broken file throws `config`: without it a check might silently not happen.
 */
export function loadCollateral(paths: readonly string[]): Collateral {
  const files = paths.flatMap((path) => filesOf(path, 0))
  if (files.length > fileCountMax)
    throw new CofferError("config", `collateral: wanted at most ${fileCountMax} files, found more`)
  try {
    const { collateral, skipped } = parseCollateral(files)
    const odd = skipped.find((name) => paths.includes(name))
    if (odd === undefined) return collateral
    throw new CofferError("config", `${odd}: wanted collateral, found something else`, {
      reason: "collateral-unknown",
    })
  } catch (error) {
    if (!(error instanceof CofferError) || error.code !== "integrity") throw error
    throw new CofferError("config", error.message, {
      reason: "collateral-malformed",
      facts: error.facts,
      cause: error,
    })
  }
}

function filesOf(path: string, depth: number): readonly CollateralFile[] {
  try {
    const stat = depth === 0 ? statSync(path) : lstatSync(path)
    if (stat.isDirectory()) {
      if (depth === depthMax) return []
      return readdirSync(path)
        .toSorted()
        .flatMap((name) => filesOf(join(path, name), depth + 1))
    }
    if (!stat.isFile()) return []
    if (stat.size <= collateralFileMax) return [{ name: path, bytes: readFileSync(path) }]
    if (depth > 0) return []
    throw new CofferError(
      "config",
      `${path}: wanted at most ${collateralFileMax} bytes, found ${stat.size}`,
    )
  } catch (error) {
    throw fromSystem(error, path)
  }
}
