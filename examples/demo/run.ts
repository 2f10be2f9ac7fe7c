/** Chapter 4: the protected image runs, after attestation, with its volume; and what the adversary tries is refused. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { atEnd, chapter, coffer, must, refused, show, work } from "./story.ts"

const url = "http://127.0.0.1:18473/"
const data = join(work, "shop-data")
const command = `coffer run oci:protected:shop --volume orders=${data}`
// The embedded CAS keeps its database there: policy, key of the volume, its newest state.
process.env["XDG_DATA_HOME"] = join(work, "cas")

async function answer(init: RequestInit = {}): Promise<unknown> {
  const giveUp = performance.now() + 30_000
  for (;;) {
    try {
      return await (await fetch(url, init)).json()
    } catch (error) {
      if (performance.now() > giveUp) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

async function start(): Promise<ChildProcess> {
  console.log(`  $ ${command.replaceAll(work, "DEMO")} &`)
  const args = command.split(" ").slice(1)
  const service = spawn(coffer, args, { cwd: work, stdio: ["ignore", "inherit", "inherit"] })
  atEnd(() => void service.kill("SIGKILL"))
  await answer()
  return service
}

async function stop(service: ChildProcess): Promise<void> {
  const ended = once(service, "exit")
  service.kill("SIGTERM")
  const [code] = (await ended) as [number | null]
  if (code !== 0) throw new Error(`the service ended with ${code}`)
}

async function order(item: string): Promise<void> {
  console.log(`  $ curl -d ${item} ${url}`)
  console.log(`    ${JSON.stringify(await answer({ method: "POST", body: item }))}`)
}

export async function runChapter(): Promise<void> {
  chapter("4. The service runs: measured, attested, with its encrypted volume")
  mkdirSync(data)
  const first = await start()
  await order("tea")
  refused(command.replace("coffer", coffer), 125, /no other writer/)
  show("a second writer of the volume is refused while the first one runs", true)
  await stop(first)
  cpSync(data, join(work, "shop-older"), { recursive: true })
  const second = await start()
  await order("coffee")
  const orders = JSON.stringify(await answer())
  console.log(`    ${orders}`)
  show("after a restart the state is there", /tea.*coffee/.test(orders))
  await stop(second)
  attacks()
}

function attacks(): void {
  const again = command.replace("coffer", coffer)
  refused(`${again} -- --debug`, 125, /wanted no arguments/)
  show("an argument that the measured manifest does not allow is refused", true)
  const newer = join(work, "shop-newer")
  cpSync(data, newer, { recursive: true })
  const put = (from: string | undefined) => {
    rmSync(data, { recursive: true })
    if (from === undefined) mkdirSync(data)
    else cpSync(from, data, { recursive: true })
  }
  put(join(work, "shop-older"))
  console.log("    (the adversary puts the volume of before the restart back)")
  refused(again, 125, /older/)
  show("an older volume is refused: the CAS knows the newest state", true)
  put(undefined)
  console.log("    (the adversary empties the volume's directory)")
  refused(again, 125, /./)
  show("an emptied volume is refused, and not silently begun anew", true)
  put(newer)
  console.log("    (somebody runs the other image, with the changed algorithm, on the same volume)")
  refused(again.replace("oci:protected", "oci:changed"), 125, /measurements/)
  show("another MrEnclave gets neither key nor volume", true)
  must("sh -c '! mount | grep -q coffer-demo'", { show: false })
  show("nothing is left mounted", true)
}
