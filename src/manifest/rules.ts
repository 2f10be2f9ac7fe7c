// What the scalars of both manifests must be; `fields.ts` has their schemas, `measured-usual.ts` reads them without.

export const manifestFormat = "coffer/manifest/1"

export const namePattern = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/
export const digestPattern = /^sha256:[0-9a-f]{64}$/
export const hashPattern = /^[0-9a-f]{64}$/
export const variablePattern = /^[A-Za-z_][A-Za-z0-9_.-]{0,254}$/

/** Characters. */
export const maxTextLength = 131_071
export const maxPathLength = 4095
export const maxPatternLength = 256
export const maxId = 4_294_967_294

export function isCleanText(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed()
}

export function isNormalPath(path: string): boolean {
  if (path === "/") return true
  if (!path.startsWith("/") || path.includes("\0") || !path.isWellFormed()) return false
  return path
    .slice(1)
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== ".." && Buffer.byteLength(part) <= 255)
}

export function isPattern(text: string): boolean {
  try {
    return text.isWellFormed() && new RegExp(`^(?:${text})$`, "u") instanceof RegExp
  } catch {
    return false
  }
}

export const signals = [
  "SIGTERM",
  "SIGINT",
  "SIGQUIT",
  "SIGHUP",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGWINCH",
  "SIGABRT",
  "SIGPWR",
  "SIGRTMIN+3",
] as const
