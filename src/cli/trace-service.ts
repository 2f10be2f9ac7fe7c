import { spawn } from "node:child_process"
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { CofferError } from "../errors.ts"
import type { ServiceSource } from "../manifest/index.ts"
import type { ImageReference } from "../oci/index.ts"
import { type Coverage, minimise, type ProtectInput, protectImage } from "../protect/index.ts"
import { directoriesOf, openSealed, type Running, runAlone } from "../runtime/index.ts"
import { type FileSource, openTree, writeAll } from "../seal/index.ts"
import { mergeTraces, parseTrace, type Trace } from "../shield/index.ts"
import type { Io } from "./io.ts"

export interface TraceInput {
  readonly from: ImageReference
  readonly service: ServiceSource
  readonly name: string
  readonly progress: ProtectInput["progress"]
  /** What runs in the container; empty: what the image says. */
  readonly command: readonly string[]
  /** A shell command of the host that uses the service; when it ends, the service is stopped. */
  readonly exercise: string | undefined
  /** Of other runs: the coverage is that of all together. */
  readonly earlier: Trace | undefined
  readonly io: Io
}

export interface Traced {
  /** Of this run alone. */
  readonly trace: Trace
  readonly coverage: Coverage
}

/**
 * Runs the service once, as an enclave of its own with all files of the image, volumes that begin empty and go
 * afterwards, and an embedded CAS; what it did with the files.
 */
export async function traceService(input: TraceInput): Promise<Traced> {
  const { from, io } = input
  if (from.kind === "docker-archive" && from.file === undefined)
    throw new CofferError(
      "usage",
      "--trace: wanted an image that can be read twice, found a pipe",
      {
        hint: "save the image to a file first: podman save IMAGE -o FILE, then docker-archive:FILE",
      },
    )
  const scratch = mkdtempSync(join(tmpdir(), "coffer-trace-"))
  try {
    const sealed = join(scratch, "sealed")
    const made = await protectImage({
      from,
      to: { kind: "layout", directory: join(scratch, "image"), tag: "trace" },
      service: wholeInside(input),
      name: input.name,
      input: process.stdin,
      output: () => undefined,
      progress: input.progress,
      onSealed: (_, source) => copyOut(source, sealed),
    })
    rmSync(join(scratch, "image"), { recursive: true })
    input.progress("running")(0, undefined)
    if (made.manifest.exec.length > 0)
      io.warn("warning: service.exec is not run by the trace: name what it needs under keep")
    const trace = await run(input, sealed, scratch, volumesIn(made.manifest.regions, scratch))
    return { trace, coverage: coverageOf(input, sealed, trace) }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** It lies within the image's layer. */
function copyOut(source: Pick<FileSource, "size" | "read">, path: string): void {
  const fd = openSync(path, "wx", 0o600)
  try {
    const piece = new Uint8Array(1 << 20)
    for (let at = 0; at < source.size; at += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, source.size - at))
      source.read(part, at)
      writeAll(fd, part, at)
    }
  } finally {
    closeSync(fd)
  }
}

function coverageOf({ earlier, service }: TraceInput, sealed: string, found: Trace): Coverage {
  const { source, sealed: binary } = openSealed(sealed)
  try {
    const trace = earlier === undefined ? found : mergeTraces(earlier, found)
    const { manifest } = binary
    return minimise(openTree(source, manifest), { trace, keep: service.keep, manifest }).coverage
  } finally {
    source.close()
  }
}

/** All content of the image in the binary filesystem, where it can be watched; and our command. */
function wholeInside({ service: source, command }: TraceInput): ServiceSource {
  const regions = source.regions?.filter(
    ({ protection, lifetime, content, size }) =>
      protection === "measured" ||
      protection === "none" ||
      lifetime === "persistent" ||
      (content ?? (size === undefined ? "image" : "empty")) === "empty",
  )
  const { service } = source
  const other =
    command.length === 0
      ? service
      : { ...service, binary: undefined, argv: [...command], args: { allow: [] } }
  return { ...source, service: other, regions }
}

function volumesIn(
  regions: Awaited<ReturnType<typeof protectImage>>["manifest"]["regions"],
  scratch: string,
): Map<string, string> {
  const volumes = new Map<string, string>()
  for (const region of regions) {
    if (region.kind !== "volume" || volumes.has(region.volume)) continue
    const directory = join(scratch, `volume-${region.volume}`)
    mkdirSync(directory, { mode: 0o700 })
    volumes.set(region.volume, directory)
  }
  return volumes
}

async function run(
  input: TraceInput,
  sealed: string,
  scratch: string,
  volumes: ReadonlyMap<string, string>,
): Promise<Trace> {
  const { io } = input
  const trace = join(scratch, "trace")
  const file = openSealed(sealed)
  let running: Running | undefined
  const stop = () => running?.signal("SIGTERM")
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, stop)
  try {
    const status = await runAlone({
      file,
      args: [],
      base: directoriesOf(io.env).base,
      env: io.env,
      volumes,
      cas: {
        target: { type: "embedded", dir: join(scratch, "cas") },
        node: undefined,
        policy: undefined,
        accept: true,
      },
      terminal: false,
      stdout: 2,
      trace,
      onIncident: (incident) => io.warn(JSON.stringify({ incident })),
      onStart(started) {
        running = started
        if (input.exercise !== undefined) exercise(input.exercise, started, io)
      },
    })
    if (status !== 0 && input.exercise === undefined)
      io.warn(`warning: the service ended with ${status}: did it do all that it must?`)
  } finally {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, stop)
    file.source.close()
  }
  if (!existsSync(trace))
    throw new CofferError("fault", "wanted a trace of the service, found none")
  return parseTrace(readFileSync(trace, "utf8"), trace)
}

const patienceMs = 10_000

/** Once, beside the service; then the service is asked to end, and made to. */
function exercise(command: string, running: Running, io: Io): void {
  const child = spawn("sh", ["-c", command], { stdio: ["ignore", 2, 2] })
  const end = (): void => {
    running.signal("SIGTERM")
    setTimeout(() => running.signal("SIGKILL"), patienceMs).unref()
  }
  child.once("error", end)
  child.once("exit", (code) => {
    if (code !== 0)
      io.warn(`warning: --trace-with ended with ${code ?? "a signal"}: is the trace whole?`)
    end()
  })
}
