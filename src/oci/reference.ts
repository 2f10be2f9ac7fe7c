import { CofferError } from "../errors.ts"

/** Where an image is, as the command line names it (DESIGN.md section 11). */
export type ImageReference =
  | { readonly kind: "layout"; readonly directory: string; readonly tag: string | undefined }
  | { readonly kind: "oci-archive"; readonly file: string; readonly tag: string | undefined }
  /** `file` is undefined for `-`: standard input or output. */
  | {
      readonly kind: "docker-archive"
      readonly file: string | undefined
      readonly tag: string | undefined
    }
  /** Reached through skopeo; `name` is skopeo's own whole reference. */
  | { readonly kind: "skopeo"; readonly name: string }
  /** A bare name: local storage first, then a registry. */
  | { readonly kind: "bare"; readonly name: string }

const skopeoTransports = ["containers-storage:", "docker-daemon:", "docker://"] as const
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const namePattern = /^[a-z0-9]+(?:[._:/@-]+[A-Za-z0-9_]+)*$/

export function parseImageReference(text: string): ImageReference {
  if (text.startsWith("oci:")) {
    const { path, tag } = splitTag(text.slice("oci:".length), text)
    return { kind: "layout", directory: path, tag }
  }
  if (text.startsWith("oci-archive:")) {
    const { path, tag } = splitTag(text.slice("oci-archive:".length), text)
    return { kind: "oci-archive", file: path, tag }
  }
  if (text.startsWith("docker-archive:")) {
    const { path, tag } = splitName(text.slice("docker-archive:".length), text)
    return { kind: "docker-archive", file: path === "-" ? undefined : path, tag }
  }
  if (
    skopeoTransports.some(
      (transport) => text.startsWith(transport) && text.length > transport.length,
    )
  ) {
    return { kind: "skopeo", name: text }
  }
  if (namePattern.test(text)) return { kind: "bare", name: text }
  throw unknown(text)
}

/** `PATH[:TAG]`: a colon in the last path component begins the tag. */
function splitTag(rest: string, whole: string): { path: string; tag: string | undefined } {
  const colon = rest.indexOf(":", rest.lastIndexOf("/") + 1)
  const path = colon < 0 ? rest : rest.slice(0, colon)
  const tag = colon < 0 ? undefined : rest.slice(colon + 1)
  if (path === "") throw unknown(whole)
  if (tag !== undefined && !tagPattern.test(tag)) {
    throw new CofferError(
      "usage",
      `image ${whole}: wanted a tag of letters, digits, '.', '_' and '-', found '${tag}'`,
    )
  }
  return { path, tag }
}

/** `FILE[:NAME:TAG]`, as skopeo and podman write it for docker archives. */
function splitName(rest: string, whole: string): { path: string; tag: string | undefined } {
  const colon = rest.indexOf(":")
  const path = colon < 0 ? rest : rest.slice(0, colon)
  if (path === "") throw unknown(whole)
  return { path, tag: colon < 0 ? undefined : rest.slice(colon + 1) }
}

function unknown(text: string): CofferError {
  return new CofferError("usage", `wanted an image, found '${text}'`, {
    hint:
      "write oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE (or - for a pipe), containers-storage:NAME, " +
      "docker-daemon:NAME:TAG, docker://REGISTRY/NAME, or a bare name",
  })
}
