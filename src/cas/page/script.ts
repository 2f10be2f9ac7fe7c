import { labels } from "../../crypto/index.ts"

/** Runs in the browser. It writes text nodes only: names come from strangers. */
export const pageScript = `
const encoder = new TextEncoder()
const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
const toHex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
const join = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]))
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

function show({ info, policies, volumes, verdicts }) {
  byId("identity").textContent = "key " + info.cas + ", log at entry " + info.head.sequence
  fill("verdicts", ["service", "verdict", "when", "from", "MrEnclave", "platform", "reason"], verdicts.map((v) => [
    v.subject, v.accepted ? { text: "accepted", kind: "good" } : { text: "refused", kind: "bad" }, time(v.time), v.from ?? "", v.mrEnclave ? code(v.mrEnclave.slice(0, 16) + "…") : "not known",
    v.platformType ?? "", v.accepted ? "platform " + v.platform : reason(v),
  ]))
  fill("policies", ["policy", "services", "revision", "changed", "hash"], policies.map((p) => [
    p.name + (p.insecure ? " (insecure-sim)" : ""), p.services.join(", "), p.revision, time(p.changed), code(p.hash.slice(0, 16) + "…"),
  ]))
  fill("volumes", ["volume", "state", "commit", "tag", "moved", "writer", "epoch"], volumes.map((v) => [
    v.name, v.state, v.sequence, code(v.tag.slice(0, 16) + "…"), time(v.moved), v.writer ?? "none", v.epoch,
  ]))
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
      if (entries.length > 5000) entries.shift()
    }
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

const overview = await get("/api/overview")
show(overview)
const status = byId("chain")
try {
  const { head } = overview.info
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
