import type { Enclave } from "./enclave.ts"
import { markOf, writeMetrics, writeState } from "./place.ts"
import type { MeasuredFile } from "./sealed-image.ts"

const metricsMs = 5000

/** Leaves in the container's folder what other processes must know of this shield: `exec`, `delete`, `coffer ps`. */
export function remember(
  place: string,
  id: string,
  enclave: Enclave,
  { sealed }: MeasuredFile,
): void {
  const { mrEnclave, configured } = enclave
  writeState(place, {
    ...markOf(process.pid),
    id,
    mrEnclave,
    name: sealed.manifest.name,
    manifest: Buffer.from(sealed.manifestPages).toString("utf8").replace(/\0*$/, ""),
    volumes: (configured?.answer.volumes ?? [])
      .filter(({ access }) => access === "write")
      .map(({ name, instance }) => `${configured?.policy ?? ""}/${name}/${instance}`),
  })
  const note = () => writeMetrics(place, enclave.metrics())
  note()
  setInterval(note, metricsMs).unref()
}
