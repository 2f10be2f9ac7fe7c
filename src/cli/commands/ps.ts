import { Command } from "commander"
import { directoriesOf, type EnclaveStatus, listEnclaves } from "../../runtime/index.ts"
import type { Io } from "../io.ts"

/** `coffer ps`: the enclaves of this machine. */
export function psCommand(io: Io): Command {
  return new Command("ps")
    .description("list the enclaves that run on this machine, of all engines")
    .option("--json", "print one JSON document")
    .option("--metrics", "print metrics in the text format of Prometheus")
    .action((options: { readonly json?: true; readonly metrics?: true }) => {
      const enclaves = listEnclaves(directoriesOf(io.env).base)
      if (options.metrics === true) io.print(metricsText(enclaves))
      else if (options.json === true) io.print(JSON.stringify(enclaves))
      else print(enclaves, io)
    })
}

function print(enclaves: readonly EnclaveStatus[], io: Io): void {
  for (const { id, name, mrEnclave, pid, volumes } of enclaves) {
    const more = volumes.length === 0 ? "" : `  volumes ${volumes.join(", ")}`
    io.print(`${id.slice(0, 24).padEnd(24)}  ${name}  ${mrEnclave}  shield ${pid}${more}`)
  }
  if (enclaves.length === 0) io.warn("no enclave runs here")
}

interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The exposition format: a node's exporter of text files takes it as it is. */
function metricsText(enclaves: readonly EnclaveStatus[]): string {
  const own = (value: (enclave: EnclaveStatus) => number): Sample[] =>
    enclaves.map((enclave) => ({ labels: labelsOf(enclave), value: value(enclave) }))
  const each = (field: "requests" | "errors" | "bytesRead" | "bytesWritten" | "tamperEvents") =>
    enclaves.flatMap((enclave) =>
      Object.entries(enclave.filesystems).map(([path, metrics]) => ({
        labels: { ...labelsOf(enclave), path },
        value: metrics[field],
      })),
    )
  const families: readonly (readonly [string, string, string, readonly Sample[]])[] = [
    ["coffer_enclave_info", "gauge", "An enclave that runs.", own(() => 1)],
    ["coffer_shield_resident_bytes", "gauge", "Memory.", own((one) => one.residentBytes)],
    ["coffer_shield_cpu_seconds_total", "counter", "CPU time.", own((one) => one.cpuSeconds)],
    ["coffer_requests_total", "counter", "Requests of the kernel.", each("requests")],
    ["coffer_request_errors_total", "counter", "Answered with an error.", each("errors")],
    ["coffer_read_bytes_total", "counter", "Read by the service.", each("bytesRead")],
    ["coffer_written_bytes_total", "counter", "Written by the service.", each("bytesWritten")],
    ["coffer_tampers_total", "counter", "Blocks that did not verify.", each("tamperEvents")],
  ]
  return families
    .flatMap(([name, type, help, samples]) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...samples.map(({ labels, value }) => `${name}{${labelText(labels)}} ${value}`),
    ])
    .join("\n")
}

function labelsOf({ id, name, mrEnclave }: EnclaveStatus): Record<string, string> {
  return { id, name, mrenclave: mrEnclave }
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${quoted(value)}"`)
    .join(",")
}

function quoted(text: string): string {
  return text.replaceAll(/["\\\n]/g, (char) => `\\${char === "\n" ? "n" : char}`)
}
