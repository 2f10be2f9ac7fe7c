import type { Enclave } from "./enclave.ts"
import { markOf, writeState } from "./place.ts"
import type { MeasuredFile } from "./sealed-image.ts"

/** Leaves in the container's folder what other processes must know of this shield: `exec`, `delete`, `coffer ps`. */
export function remember(
  place: string,
  id: string,
  { mrEnclave, configured }: Enclave,
  { sealed }: MeasuredFile,
): void {
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
}
