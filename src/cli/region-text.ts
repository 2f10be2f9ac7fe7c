import type { Region } from "../manifest/index.ts"
import { formatSize } from "./progress.ts"

/** What protects a region, for people. */
export function regionText(region: Region): string {
  switch (region.kind) {
    case "measured":
      return "measured"
    case "image":
      return `${region.protection}, from the image, changes are forgotten${region.tag === undefined ? "" : ", measured"}`
    case "scratch":
      return `encrypted, empty at start, forgotten${region.size === undefined ? "" : `, at most ${formatSize(region.size)}`}`
    case "volume":
      return `${region.protection}, persistent, volume ${region.volume}${region.seed ? ", first filled from the image" : ""}`
    case "host":
      return region.format === "file" || region.format === "directory"
        ? `the host's ${region.format}, not protected`
        : `the host's (${region.format}), parsed and written anew`
  }
}
