import { labels } from "../../crypto/index.ts"

/** Runs in the browser. It writes text nodes only: names come from strangers. */
export const pageScript = `
const encoder = new TextEncoder()
const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
const toHex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
function join(...parts) {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
const chainLabel = encoder.encode(${JSON.stringify(`${labels.casAudit}\0`)})
const headLabel = encoder.encode(${JSON.stringify(`${labels.casHead}\0`)})
const get = async (path) => (await fetch(path)).json()
const byId = (id) => document.getElementById(id)

function cell(value) {
  const td = document.createElement("td")
  const { text, kind } = typeof value === "object" ? value : { text: String(value) }
  const inner = kind === "code" ? document.createElement("code") : td
  inner.textContent = text
  if (inner !== td) td.append(inner)
  if (kind === "good" || kind === "bad") td.className = kind
  return td
}

function fill(id, heads, rows) {
  const table = byId(id)
  table.replaceChildren()
  const head = table.insertRow()
  for (const text of heads) {
    const th = document.createElement("th")
    th.textContent = text
    head.append(th)
  }
  for (const row of rows) table.insertRow().append(...row.map(cell))
  if (rows.length === 0) table.insertRow().append(cell("nothing yet"))
}

const code = (text) => ({ text, kind: "code" })
const reason = (v) => (v.field ? v.field + ": " : v.reason + ": ") + (v.wanted ? "wanted " + v.wanted + ", found " + v.found : "not what it must be")
const time = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19)

const tables = {
  verdicts: {
    heads: ["service", "verdict", "when", "from", "MrEnclave", "platform", "reason"],
    key: (v) => v.subject + (v.accepted ? "/accepted" : "/refused"),
    row: (v) => [
      v.subject, v.accepted ? { text: "accepted", kind: "good" } : { text: "refused", kind: "bad" }, time(v.time), v.from ?? "",
      v.mrEnclave ? code(v.mrEnclave.slice(0, 16) + "…") : "not known", v.platformType ?? "", v.accepted ? "platform " + v.platform : reason(v),
    ],
  },
  policies: {
    heads: ["policy", "services", "revision", "changed", "hash"],
    key: (p) => p.name,
    row: (p) => [p.name + (p.insecure ? " (insecure-sim)" : ""), p.services.join(", "), p.revision, time(p.changed), code(p.hash.slice(0, 16) + "…")],
  },
  volumes: {
    heads: ["volume", "state", "commit", "tag", "moved", "writer", "epoch"],
    key: (v) => v.name,
    row: (v) => [v.name, v.state, v.sequence, code(v.tag.slice(0, 16) + "…"), time(v.moved), v.writer ?? "none", v.epoch],
  },
}

/** A page of a table, and a button for the next one. */
async function page(id, prefix, shown) {
  const { heads, key, row } = tables[id]
  const after = shown.length === 0 ? "" : key(shown.at(-1))
  const { rows, pageSize } = await get("/api/" + id + "?" + new URLSearchParams({ after, prefix }))
  if (byId(id + "-filter").value.trim() !== prefix) return
  const all = [...shown, ...rows]
  fill(id, heads, all.map(row))
  const more = byId(id + "-more")
  more.hidden = rows.length < pageSize
  more.onclick = () => page(id, prefix, all)
}

async function chain(head) {
  let hash = "0".repeat(64)
  let sequence = 0
  const entries = []
  while (sequence < head.sequence) {
    const { lines } = await get("/api/audit?from=" + (sequence + 1))
    if (lines.length === 0) throw new Error("the log ends at entry " + sequence + ", the head is at " + head.sequence)
    for (const line of lines.slice(0, head.sequence - sequence)) {
      const body = line.slice(65)
      const wanted = toHex(await crypto.subtle.digest("SHA-256", join(chainLabel, fromHex(hash), encoder.encode(body))))
      const entry = JSON.parse(body)
      sequence += 1
      if (line.slice(0, 64) !== wanted || entry.sequence !== sequence) throw new Error("entry " + sequence + " does not fit the one before it")
      hash = wanted
      entries.push(entry)
    }
    if (entries.length > 10_000) entries.splice(0, entries.length - 5000)
    byId("chain").textContent = "The audit log is being verified in this browser: " + sequence + " of " + head.sequence + " entries…"
  }
  if (hash !== head.hash) throw new Error("the log does not end where the head says")
  return entries
}

async function signed(head) {
  const body = JSON.stringify({ cas: head.cas, hash: head.hash, sequence: head.sequence, time: head.time })
  const key = await crypto.subtle.importKey("raw", fromHex(head.cas), "Ed25519", false, ["verify"])
  if (!await crypto.subtle.verify("Ed25519", key, fromHex(head.signature), join(headLabel, encoder.encode(body)))) throw new Error("the head is not signed by this CAS")
}

function showRefusals(entries) {
  const rows = entries.filter(({ kind }) => kind === "refused").slice(-100).reverse()
  fill("refusals", ["entry", "when", "from", "call", "on", "reason", "not in the log before it"], rows.map((e) => [
    e.sequence, time(e.time), e.detail.from, e.detail.call, e.subject, reason(e.detail), e.detail.unlogged ?? 0,
  ]))
}

function showAudit(entries, filter) {
  const rows = entries.filter(({ subject, kind }) => (subject + " " + kind).includes(filter)).slice(-300).reverse()
  fill("audit", ["entry", "when", "what", "on", "detail"], rows.map((e) => [
    e.sequence, time(e.time), e.kind, e.subject, code(Object.entries(e.detail).map(([name, value]) => name + "=" + value).join(" ")),
  ]))
}

const { info, counts } = await get("/api/overview")
byId("identity").textContent = "key " + info.cas + ", log at entry " + info.head.sequence + ", " + counts.policies + " policies, " + counts.volumes + " volumes"
for (const id of Object.keys(tables)) {
  page(id, "", [])
  byId(id + "-filter").addEventListener("input", ({ target }) => page(id, target.value.trim(), []))
}
const status = byId("chain")
try {
  const { head } = info
  const newest = await get("/api/audit?from=" + Math.max(1, head.sequence - 299))
  showAudit(newest.lines.map((line) => JSON.parse(line.slice(65))), "")
  const entries = await chain(head)
  await signed(head)
  status.textContent = "Verified in this browser: " + head.sequence + " entries, an unbroken chain, and its head signed by the CAS."
  status.className = "good"
  showAudit(entries, "")
  showRefusals(entries)
  byId("filter").addEventListener("input", ({ target }) => showAudit(entries, target.value.trim()))
} catch (error) {
  status.textContent = "The audit log does NOT verify: " + error.message
  status.className = "bad"
}
`
