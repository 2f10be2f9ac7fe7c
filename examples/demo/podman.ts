/** podman for the demo: with storage of its own below the demo's folder, and `coffer-oci` as its runtime. */
import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { nodeConfig } from "./cas.ts"
import { atEnd, coffer, type Ran, run, work } from "./story.ts"

const storage = join(work, "podman")
const launcher = join(work, "coffer-oci")
const podman = `podman --root ${storage}/root --runroot ${storage}/run --tmpdir ${storage}/tmp --runtime ${launcher}`
/** The service is asked on the host's own network, so that no bridge is needed; one user may not start everything. */
const limits = "--network host --ulimit nofile=1000:1000 --ulimit nproc=1000:1000"

/** What a person would type; the words that only keep the demo to itself are left out. */
function shown(command: string): string {
  return command.replace(podman, "podman --runtime coffer-oci").replace(`${limits} `, "")
}

export function preparePodman(): void {
  // On a real machine the configuration is /etc/coffer/node.yaml; podman gives its runtime no environment of ours.
  const runtime = join(dirname(coffer), "coffer-oci")
  writeFileSync(
    launcher,
    `#!/bin/sh\nCOFFER_INSECURE_NODE_CONFIG=${nodeConfig} exec ${runtime} "$@"\n`,
    { mode: 0o755 },
  )
  atEnd(() => {
    run(`${podman} rm -f -t 0 --all`, { show: false })
    const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n")
    const below = mounts
      .map((line) => line.split(" ")[4] ?? "")
      .filter((at) => at.startsWith(storage))
    for (const at of below.toReversed()) run(`umount -l ${at}`, { show: false })
  })
}

/** Takes an image of the demo into podman's storage. */
export function loadImage(layout: string): string {
  const name = `localhost/${layout}:shop`
  const from = `oci:${layout}:shop`
  const copied = run(
    `skopeo copy -q ${from} 'containers-storage:[overlay@${storage}/root+${storage}/run]${name}'`,
    { show: false },
  )
  if (copied.status !== 0) throw new Error(`skopeo copy ${from}: ${copied.err}`)
  return name
}

export interface StartOptions {
  readonly name?: string
  readonly options?: string
  readonly args?: string
}

/** `podman run -d`: status 0 when the service has started. */
export function start(
  image: string,
  { name = "shop", options = "", args = "" }: StartOptions = {},
): Ran {
  const volume = `-v ${work}/orders:/data`
  const words = ["run -d --name", name, limits, volume, options, image, args]
  const command = `${podman} ${words.filter((word) => word !== "").join(" ")}`
  console.log(`  $ ${shown(command).replaceAll(work, "DEMO")}`)
  return run(command, { show: false })
}

/** Waits until the service has ended, and returns its exit status. */
export function ended(name = "shop"): string {
  return run(`timeout 60 ${podman} wait ${name}`, { show: false }).out
}

/** The file of an image in podman's storage, as the adversary, who has the disk, finds it. */
export function storedFiles(pattern: string): string[] {
  return run(`find ${storage}/root/overlay -path '*/diff/${pattern}' -type f`, { show: false })
    .out.split("\n")
    .filter((path) => path !== "")
}

export function logs(name = "shop"): string {
  const { out, err } = run(`${podman} logs ${name}`, { show: false })
  return `${out}\n${err}`.trim()
}

/** `podman stop`, and the service's exit status. */
export function stop(): string {
  console.log("  $ podman stop shop")
  run(`${podman} stop -t 20 shop`, { show: false })
  const status = run(`${podman} inspect -f '{{.State.ExitCode}}' shop`, { show: false }).out
  remove()
  return status
}

export function remove(name = "shop"): void {
  run(`${podman} rm -f -t 0 ${name}`, { show: false })
}
