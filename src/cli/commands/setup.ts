import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { Argument, Command } from "commander"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import { containerdConfiguration } from "../containerd-config.ts"
import type { Io } from "../io.ts"

const containerdPath = "/etc/containerd/config.toml"

type Engine = "podman" | "docker" | "containerd"

/** `coffer setup ENGINE`: makes `coffer-oci` known to a container engine. */
export function setupCommand(io: Io): Command {
  return new Command("setup")
    .description("make coffer-oci known to a container engine")
    .addArgument(
      new Argument("<engine>", "whose configuration").choices(["podman", "docker", "containerd"]),
    )
    .option("--dry-run", "print what would be written, and where")
    .addHelpText(
      "after",
      `
Then: podman run --runtime coffer-oci IMAGE, docker run --runtime coffer-oci IMAGE, or a Kubernetes RuntimeClass with
handler coffer. Nothing else of the configuration changes.`,
    )
    .action((engine: Engine, options: { readonly dryRun?: true }) => {
      const program = resolve(import.meta.dirname, launcherFrom(import.meta.dirname))
      const { path, text, next } = configurationOf(engine, program)
      if (options.dryRun === true) {
        io.print(`# ${path}\n${text.trimEnd()}`)
        return
      }
      write(path, text)
      io.print(`written  ${path}`)
      io.warn(`next: ${next}`)
    })
}

/** From `src/cli/commands`, or from `dist` in the bundle. */
function launcherFrom(folder: string): string {
  return folder.endsWith("/commands") ? "../../../coffer-oci" : "../coffer-oci"
}

interface Configuration {
  readonly path: string
  readonly text: string
  readonly next: string
}

function configurationOf(engine: Engine, program: string): Configuration {
  switch (engine) {
    case "podman":
      return {
        path: "/etc/containers/containers.conf.d/50-coffer.conf",
        text: `[engine.runtimes]\ncoffer-oci = [${JSON.stringify(program)}]\n`,
        next: "podman run --runtime coffer-oci IMAGE",
      }
    case "docker":
      return dockerConfiguration("/etc/docker/daemon.json", program)
    case "containerd":
      return {
        path: containerdPath,
        text: containerdConfiguration(readOrEmpty(containerdPath), containerdPath, program),
        next: "restart containerd, then use a Kubernetes RuntimeClass with handler: coffer",
      }
  }
}

/** Docker has one file: what else is in it stays. */
function dockerConfiguration(path: string, program: string): Configuration {
  const before = readJson(path)
  const known = before["runtimes"]
  const runtimes = {
    ...(typeof known === "object" && known !== null ? known : {}),
    "coffer-oci": { path: program },
  }
  return {
    path,
    text: `${JSON.stringify({ ...before, runtimes }, undefined, 2)}\n`,
    next: "restart docker, then docker run --runtime coffer-oci IMAGE",
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch (error) {
    if (isErrno(error, "ENOENT")) return ""
    throw fromSystem(error, path)
  }
}

function readJson(path: string): Readonly<Record<string, unknown>> {
  const text = readOrEmpty(path)
  if (text.trim() === "") return {}
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>
  } catch (cause) {
    throw new CofferError("config", `${path}: wanted JSON, found something else`, { cause })
  }
}

function write(path: string, text: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  } catch (error) {
    throw fromSystem(error, path, "run it as root, or with --dry-run")
  }
}
