/**
 * What POSIX and Linux promise of a filesystem, over any mount point: the same tests run on the machine's own disk, on
 * the filesystem in memory, and on volumes. Run as root: some cases act as another user.
 */
import { describe, test } from "node:test"
import { type PosixLimits, runCase } from "./posix-case.ts"
import { dataCases } from "./posix-data.ts"
import { directoryCases } from "./posix-directories.ts"
import { linkCases } from "./posix-links.ts"
import { metadataCases } from "./posix-metadata.ts"
import { renameCases } from "./posix-rename.ts"
import { systemCases } from "./posix-system.ts"

const cases = [
  ...renameCases,
  ...linkCases,
  ...directoryCases,
  ...dataCases,
  ...metadataCases,
  ...systemCases,
]

/** `place` gives a directory on the filesystem; it is called within tests only. */
export function posixSuite(label: string, place: () => string, limits: PosixLimits): void {
  void describe(`POSIX on ${label}`, () => {
    for (const [name, body] of cases) test(name, () => runCase(place(), body, limits))
  })
}
