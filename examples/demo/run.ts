/** Chapter 5: podman runs the protected image, after attestation; and what the adversary tries is refused. */
import { cpSync, mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { attacks, refusedStart } from "./attacks.ts"
import { answer, url } from "./client.ts"
import { loadImage, logs, preparePodman, start, stop } from "./podman.ts"
import { chapter, show, work } from "./story.ts"

const data = join(work, "orders")

function started(image: string): void {
  const { status, err } = start(image)
  if (status !== 0) throw new Error(`the service did not start: ${err}`)
}

function stopped(): void {
  const status = stop()
  if (status !== "0") throw new Error(`the service ended with ${status}: ${logs()}`)
}

async function order(
  item: string,
  key = readFileSync(join(work, "api.key"), "utf8"),
): Promise<string> {
  const told = JSON.stringify(
    await answer({ method: "POST", body: item, headers: { "X-Api-Key": key } }),
  )
  console.log(`  $ curl -H "X-Api-Key: …" -d ${item} ${url}\n    ${told}`)
  return told
}

export async function runChapter(): Promise<void> {
  chapter("5. podman runs it: measured, attested, with keys, secrets and its encrypted volume")
  preparePodman()
  const shop = loadImage("protected")
  mkdirSync(data)
  started(shop)
  show(
    "the encrypted algorithm and its model are there, inside: it answers with a price",
    /"price":\d+/.test(await order("tea")),
  )
  show(
    "the API key came from the CAS: another key is refused by the service",
    /wrong key/.test(await order("tea", "guessed")),
  )
  refusedStart(shop, "a second writer of the volume", /no other writer/, { name: "other" })
  stopped()
  cpSync(data, join(work, "orders-older"), { recursive: true })
  started(shop)
  await order("coffee")
  const orders = JSON.stringify(await answer())
  console.log(`  $ curl ${url}\n    ${orders}`)
  show("after a restart its state is there", /tea.*coffee/.test(orders))
  stopped()
  await attacks(shop)
}
