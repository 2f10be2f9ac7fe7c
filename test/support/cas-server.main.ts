/** A CAS server in a process of its own, for tests that kill it: STORE, MASTER KEY in hex, PORT. Prints its address and key. */
import { fromHex } from "../../src/bytes/index.ts"
import { openCas, serveCas } from "../../src/cas/index.ts"

const [, , store = "", master = "", port = "0"] = process.argv
const cas = await openCas({ store, master: fromHex(master) ?? new Uint8Array(), create: true })
await cas.guard()
const server = await serveCas({
  cas,
  host: "127.0.0.1",
  port: Number(port),
  rate: 1e9,
  log: () => undefined,
})
console.log(`${server.url} ${cas.identity.name}`)
process.on("disconnect", () => process.exit(0))
