import { createHash } from "node:crypto"
import type { FileClass, InventoryEntry, SealedReport } from "../../seal/index.ts"
import { fileClasses, protectionOf } from "../../seal/index.ts"
import { formatSize } from "../progress.ts"
import { regionText } from "../region-text.ts"
import { escapeHtml } from "./escape.ts"
import { rootPicture } from "./picture.ts"
import { reportStyle } from "./report-style.ts"

/**
 * What `coffer inspect` says, as one page that needs nothing else. Names in it come from the image, so they are escaped,
 * and the policy of the page lets nothing run and nothing load.
 */
export function reportPage(report: SealedReport): string {
  const { manifest } = report
  const hash = createHash("sha256").update(reportStyle).digest("base64")
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(manifest.name)}: what protects it</title>
<style>${reportStyle}</style>
</head>
<body>
<h1>${escapeHtml(manifest.name)}</h1>
<p class="small">What protects each file of this service. Made by <code>coffer inspect</code> from the sealed binary, whose bytes were measured.</p>
${notices(report)}
${identity(report)}
<h2>The root filesystem by protection</h2>
${coverageBar(report)}
${coverageTable(report)}
${rootPicture(report)}
<p class="small">Areas are bytes; a region that is empty in the image has the least area that can be seen. Point at a place for its path.</p>
<h2>Regions</h2>
${regionTable(report)}
<h2>Files</h2>
${fileLists(report)}
</body>
</html>
`
}

function notices({ warnings, unprotected }: SealedReport): string {
  const lines = [
    ...warnings.map((text) => escapeHtml(text)),
    // The host's own files and directories are among the warnings.
    ...unprotected
      .filter(isTyped)
      .map((region) => `<code>${escapeHtml(region.path)}</code>: ${regionText(region)}`),
  ]
  if (lines.length === 0)
    return `<div class="notices calm"><h2>Nothing needs a look</h2><p>Every program is measured, and every file is protected.</p></div>`
  const items = lines.map((line) => `<li>${line}</li>`).join("")
  return `<div class="notices"><h2>Look at these first (${lines.length})</h2><ul>${items}</ul></div>`
}

function isTyped(region: SealedReport["unprotected"][number]): boolean {
  return region.kind !== "host" || (region.format !== "file" && region.format !== "directory")
}

function identity({ mrEnclave, signature, manifest, sizes }: SealedReport): string {
  const { uid, gid } = manifest.user
  const command = manifest.argv.map((arg) => JSON.stringify(arg)).join(" ")
  const rows: [string, string][] = [
    ["MrEnclave", mrEnclave],
    ["Signature", signature === null ? "none" : `MrSigner ${String(signature["mrSigner"])}`],
    ["Source image", sourceOf(manifest)],
    ["Runs", `${command} as ${uid}:${gid} in ${manifest.cwd}`],
    ["From the host", fromHost(manifest)],
    [
      "Size",
      `${formatSize(sizes.file)}: head ${formatSize(sizes.head)}, files ${formatSize(sizes.binfs)}, hash tree ${formatSize(sizes.verity)}${sizes.stores === 0 ? "" : `; stores of regions ${formatSize(sizes.stores)}`}`,
    ],
    ["Root hash", manifest.verity.rootHash],
  ]
  const body = rows.map(
    ([name, value]) => `<tr><th>${name}</th><td class="mono">${escapeHtml(value)}</td></tr>`,
  )
  return `<table>${body.join("")}</table>`
}

function sourceOf({ source, regions }: SealedReport["manifest"]): string {
  if (source !== undefined) return source.image
  const renewable = regions.some((region) => region.kind === "image" && region.tag === undefined)
  return renewable ? "not measured: content of a region may be renewed" : "none: made from files"
}

/** All that the host may choose of how the service runs. */
export function fromHost({ env, args, stdin, exec }: SealedReport["manifest"]): string {
  const inputs = [
    ...Object.keys(env.allow).map((name) => `$${name}`),
    ...args.allow.map((pattern) => `arguments /${pattern}/`),
    ...(stdin === "inherit" ? ["stdin"] : []),
    ...exec.map((argv) => `exec ${argv.join(" ")}`),
  ]
  return inputs.length === 0 ? "nothing" : inputs.join(", ")
}

function coverageBar({ coverage }: SealedReport): string {
  const total = coverage.reduce((sum, { size }) => sum + size, 0)
  if (total === 0) return ""
  let x = 0
  const parts = coverage.map(({ class: name, size }) => {
    const wide = (1200 * size) / total
    const part = `<rect class="${name}" x="${x.toFixed(1)}" y="0" width="${wide.toFixed(1)}" height="14"/>`
    x += wide
    return size === 0 ? "" : part
  })
  return `<svg class="bar" viewBox="0 0 1200 14" role="img" aria-label="Coverage in bytes">${parts.join("")}</svg>`
}

function coverageTable({ coverage }: SealedReport): string {
  const total = coverage.reduce((sum, { size }) => sum + size, 0)
  const rows = coverage.map(
    ({ class: name, fileCount, size }) =>
      `<tr><td>${key(name)}</td><td class="number">${fileCount}</td><td class="number">${size}</td><td class="number">${share(size, total)}</td></tr>`,
  )
  return `<table><tr><th>Class</th><th class="number">Files</th><th class="number">Bytes</th><th class="number">Share</th></tr>${rows.join("")}</table><p></p>`
}

function share(size: number, total: number): string {
  return total === 0 ? "–" : `${((100 * size) / total).toFixed(1)} %`
}

const classNames: Readonly<Record<FileClass, string>> = {
  none: "not protected",
  encrypted: "encrypted",
  authenticated: "authenticated",
  measured: "measured",
}

function key(name: FileClass): string {
  return `<span class="key ${name}">${classNames[name]}</span>`
}

function regionTable({ manifest }: SealedReport): string {
  const rows = manifest.regions.map(
    (region) =>
      `<tr><td class="mono">${escapeHtml(region.path)}</td><td>${key(protectionOf(region))}</td><td>${escapeHtml(regionText(region))}</td></tr>`,
  )
  const changes = manifest.readOnly ? "writes fail" : "changes are forgotten when it stops"
  return `<table><tr><th>Path</th><th>Class</th><th>What it is</th></tr><tr><td class="mono">/</td><td>${key("measured")}</td><td>all code, in the sealed binary; ${changes}</td></tr>${rows.join("")}</table>`
}

/** Each class, and in it each directory of the root, folded. */
function fileLists({ files }: SealedReport): string {
  return fileClasses
    .flatMap((name) => {
      const groups = Map.groupBy(
        files.filter((file) => file.class === name),
        ({ path }) => `/${path.split("/")[1] ?? ""}`,
      )
      return [...groups].map(([top, entries]) => fileList(name, top, entries))
    })
    .join("")
}

function fileList(name: FileClass, top: string, entries: readonly InventoryEntry[]): string {
  const size = entries.reduce(
    (sum, entry) => sum + (entry.linkOf === undefined ? (entry.size ?? 0) : 0),
    0,
  )
  const rows = entries.map(
    (entry) =>
      `<tr><td class="number">${entry.size ?? ""}</td><td class="mono">${entry.mode}</td><td>${entry.kind}</td><td class="mono">${escapeHtml(entry.path)}${entry.linkOf === undefined ? "" : ` = ${escapeHtml(entry.linkOf)}`}</td></tr>`,
  )
  const head = '<tr><th class="number">Bytes</th><th>Mode</th><th>Kind</th><th>Path</th></tr>'
  const count = entries.length === 1 ? "1 entry" : `${entries.length} entries`
  return `<details><summary>${key(name)} <code>${escapeHtml(top)}</code> <span class="small">${count}, ${formatSize(size)}</span></summary><table>${head}${rows.join("")}</table></details>`
}
