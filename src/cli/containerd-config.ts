import { CofferError } from "../errors.ts"

const begin = "# >>> written by coffer setup containerd"
const end = "# <<<"

/** What containerd calls the plugin that speaks with Kubernetes, by the version of its configuration. */
const criPlugins: Readonly<Record<string, string>> = {
  "2": "io.containerd.grpc.v1.cri",
  "3": "io.containerd.cri.v1.runtime",
}

/**
 * containerd's config.toml with the runtime `coffer` in it; what else is in it stays. Idempotent. It is not a file of its
 * own under `imports`: containerd replaces a whole plugin's settings by those of an imported file, runc and all.
 */
export function containerdConfiguration(before: string, path: string, program: string): string {
  const own = new RegExp(`\n?^${begin}$[^]*?^${end}\n`, "gm")
  const rest = before.replace(own, "")
  const text = rest.trim() === "" ? "version = 2\n" : rest.replace(/\n*$/, "\n")
  const version = /^version *= *(\d+)/m.exec(text)?.[1] ?? "1"
  const plugin = criPlugins[version]
  if (plugin === undefined)
    throw new CofferError("config", `${path}: wanted version = 2 or 3, found version ${version}`, {
      hint: "containerd config migrate prints a newer one",
    })
  if (/runtimes\.coffer[\].]/.test(text))
    throw new CofferError("config", `${path}: wanted no runtime coffer, found one of another hand`)
  return `${text}\n${begin}\n${runtimes(text, plugin, program)}${end}\n`
}

function runtimes(text: string, plugin: string, program: string): string {
  const tables = `[plugins."${plugin}".containerd.runtimes`
  // A file that names any runtime no longer has the one that stands there by itself.
  const runc = /runtimes\.runc\]/.test(text)
    ? ""
    : `${tables}.runc]\n  runtime_type = "io.containerd.runc.v2"\n`
  // The kubelet and all runtimes must agree on who keeps the cgroups.
  const systemd = /^\s*SystemdCgroup *= *true/m.test(text) ? "  SystemdCgroup = true\n" : ""
  return `${runc}${tables}.coffer]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["io.coffer.*"]
  container_annotations = ["io.coffer.*"]
${tables}.coffer.options]
  BinaryName = ${JSON.stringify(program)}
${systemd}`
}
