import type { Hono } from "hono"
import type { Cas } from "../cas.ts"
import { pageHtml } from "./html.ts"
import { pageScript } from "./script.ts"
import { pageStyle } from "./style.ts"

// No script but ours, no connection but to us, no frame: names in a policy come from strangers.
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Rows of a table at a time: a CAS can have a million volumes. */
const pageSize = 100

const headers = {
  "content-security-policy": policy,
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
}

/** The read-only page and what it reads. Nothing here holds a key or a secret's value. */
export function mountPage(app: Hono, cas: Cas): void {
  const serve = (path: string, type: string, body: string) =>
    app.get(path, (context) =>
      context.body(body, 200, { ...headers, "content-type": `${type}; charset=utf-8` }),
    )
  serve("/", "text/html", pageHtml)
  serve("/page.js", "text/javascript", pageScript)
  serve("/page.css", "text/css", pageStyle)
  app.get("/api/overview", async (context) => {
    const [info, counts] = await Promise.all([cas.info(), cas.counts()])
    return context.json({ info, counts }, 200, headers)
  })
  const lists = {
    policies: (after: string, prefix: string) => cas.policies(after, pageSize, prefix),
    volumes: (after: string, prefix: string) => cas.volumes(prefix, after, pageSize),
    verdicts: (after: string, prefix: string) => cas.verdicts(after, pageSize, prefix),
  }
  for (const [name, list] of Object.entries(lists))
    app.get(`/api/${name}`, async (context) => {
      const { after = "", prefix = "" } = context.req.query()
      return context.json({ rows: await list(after, prefix), pageSize }, 200, headers)
    })
  app.get("/api/audit", async (context) => {
    const from = Number(context.req.query("from") ?? 1)
    const first = Number.isSafeInteger(from) && from >= 1 ? from : 1
    return context.json({ lines: await cas.auditLines(first, 1000) }, 200, headers)
  })
}
