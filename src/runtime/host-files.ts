import { isIP } from "node:net"
import { CofferError } from "../errors.ts"
import type { TypedFile } from "./service-mounts.ts"

// Host files come from the adversary. What is not of their format does not get in: lines are parsed and written anew.

/** Bytes of a host file, at most. */
export const maxHostFileSize = 64 << 10
const maxLineCount = 1024

const namePattern =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?$/

/** The file as the container gets it: parsed and rendered. A line of another form is a `config` error that does not quote it. */
export function renderHostFile(format: TypedFile["format"], text: string): string {
  const lines = text.split("\n")
  if (lines.length > maxLineCount)
    throw new CofferError(
      "config",
      `${format}: wanted at most ${maxLineCount} lines, found ${lines.length}`,
    )
  const rendered = lines.flatMap((line, i) => {
    const words = line
      .replace(/[#;][^\n]*$/, "")
      .split(/[ \t\r]+/)
      .filter((word) => word !== "")
    if (words.length === 0) return []
    const made = renderLine(format, words)
    if (made === undefined)
      throw new CofferError(
        "config",
        `${format}:${i + 1}: wanted ${forms[format]}, found another line`,
        {
          reason: "host-file",
          facts: { format, line: i + 1 },
        },
      )
    return [made]
  })
  const kept = format === "hostname" ? rendered.slice(0, 1) : rendered
  return kept.map((line) => `${line}\n`).join("")
}

const forms: Readonly<Record<TypedFile["format"], string>> = {
  hosts: "an address and names",
  hostname: "one name",
  "resolv.conf": "nameserver, search, domain or options",
}

function renderLine(format: TypedFile["format"], words: readonly string[]): string | undefined {
  const [first = "", ...rest] = words
  switch (format) {
    case "hostname":
      return rest.length === 0 && namePattern.test(first) ? first : undefined
    case "hosts":
      return isAddress(first) && rest.length > 0 && areNames(rest) ? words.join(" ") : undefined
    case "resolv.conf":
      return resolverLine(first, rest) ? words.join(" ") : undefined
  }
}

function resolverLine(keyword: string, values: readonly string[]): boolean {
  switch (keyword) {
    case "nameserver":
      return values.length === 1 && isAddress(values[0] ?? "")
    case "domain":
    case "search":
      return values.length > 0 && values.length <= 32 && areNames(values.filter((v) => v !== "."))
    case "options":
      return values.every((value) => /^[a-z0-9-]{1,32}(:\d{1,5})?$/.test(value))
    default:
      return false
  }
}

function isAddress(text: string): boolean {
  return isIP(text.replace(/%[A-Za-z0-9_.-]{1,15}$/, "")) !== 0
}

function areNames(words: readonly string[]): boolean {
  return words.every((word) => namePattern.test(word))
}

/** A rendered `hosts` in which the container finds its own name, which engines write into it and `coffer run` has no file for. */
export function withOwnName(hosts: string, hostname: string): string {
  const named = hosts.split(/\s+/).includes(hostname)
  return named || hostname === "" ? hosts : `${hosts}127.0.1.1 ${hostname}\n`
}

/** What the container gets where the engine gives no file. */
export function defaultHostFile(format: TypedFile["format"], hostname: string): string {
  switch (format) {
    case "hostname":
      return `${hostname}\n`
    case "hosts":
      return `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${hostname}\n`
    case "resolv.conf":
      return ""
  }
}
