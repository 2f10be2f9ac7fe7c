import { CofferError } from "../errors.ts"
import type { ServiceDefaults } from "../manifest/index.ts"
import type { ImageConfig } from "../oci/index.ts"

type Signal = ServiceDefaults["stopSignal"]
type Region = ServiceDefaults["regions"][number]

const hostFiles = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"]
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/** What the image says where `coffer.yaml` says nothing: DESIGN.md section 6. */
export function serviceDefaults(image: ImageConfig, name: string): ServiceDefaults {
  const config = image.config ?? {}
  const volumes = Object.keys(config.Volumes ?? {}).map(volumeRegion)
  const hosts = hostFiles.map((path): Region => ({ path, protection: "none", source: "host" }))
  return {
    name,
    argv: [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])],
    env: environment(config.Env ?? []),
    cwd:
      config.WorkingDir === undefined || config.WorkingDir === ""
        ? "/"
        : trimSlash(config.WorkingDir),
    user: config.User ?? "",
    stopSignal: stopSignal(config.StopSignal),
    regions: [...hosts, ...volumes],
  }
}

function volumeRegion(path: string): Region {
  return { path: trimSlash(path), protection: "encrypted", lifetime: "persistent", seed: "image" }
}

function trimSlash(path: string): string {
  return path === "/" ? path : path.replace(/\/+$/, "")
}

function environment(lines: readonly string[]): Record<string, string> {
  const set = new Map([["PATH", defaultPath]])
  for (const line of lines) {
    const equals = line.indexOf("=")
    if (equals < 1)
      throw new CofferError("config", `image config: Env: wanted NAME=VALUE, found '${line}'`)
    set.set(line.slice(0, equals), line.slice(equals + 1))
  }
  // As entries, so that a variable `__proto__` is one, which the manifest refuses.
  return Object.fromEntries(set)
}

// Linux, the same on both architectures.
const signalNumbers: Readonly<Record<string, Signal>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  6: "SIGABRT",
  9: "SIGKILL",
  10: "SIGUSR1",
  12: "SIGUSR2",
  15: "SIGTERM",
  28: "SIGWINCH",
  30: "SIGPWR",
  37: "SIGRTMIN+3",
}

/** Images name it `SIGTERM`, `TERM` or `15`. */
function stopSignal(text: string | undefined): Signal {
  if (text === undefined || text === "") return "SIGTERM"
  const named = text.startsWith("SIG") ? text : `SIG${text}`
  const all = Object.entries(signalNumbers)
  const known = all.find(([number, signal]) => number === text || signal === named)?.[1]
  if (known !== undefined) return known
  throw new CofferError(
    "config",
    `image config: StopSignal: wanted one of ${Object.values(signalNumbers).join(", ")}, found ${text}`,
    {
      hint: "set service.stopSignal in coffer.yaml",
    },
  )
}
