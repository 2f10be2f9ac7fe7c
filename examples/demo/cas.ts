/** Chapter 4: a CAS, a policy in it, and the node agent that vouches for what runs on this machine. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { atEnd, chapter, coffer, must, refused, show, work } from "./story.ts"

const casUrl = "https://127.0.0.1:18441"
export const nodeConfig = join(work, "node.yaml")

/** Starts a service of ours, waits for its first line, and ends it with the demo. */
async function serve(command: string): Promise<string> {
  console.log(`  $ coffer ${command} &`)
  const child: ChildProcess = spawn(coffer, command.split(" "), {
    cwd: work,
    stdio: ["ignore", "pipe", "pipe"],
  })
  let said = ""
  child.stderr?.on("data", (chunk: Buffer) => void (said += chunk.toString()))
  atEnd(() => void child.kill("SIGTERM"))
  const lines = createInterface({ input: child.stdout as Readable })
  const ended = once(child, "exit").then(() => {
    throw new Error(`coffer ${command} ended: ${said}`)
  })
  const [line] = (await Promise.race([once(lines, "line"), ended])) as [string]
  ended.catch(() => undefined)
  return line
}

/** The policy that `coffer protect` wrote, and in it what only the owner knows: the API key comes from the CAS. */
function completePolicy(): void {
  const file = join(work, "shop.yaml")
  const text = readFileSync(file, "utf8")
    .replace(
      "    platforms: [laptop]\n",
      '    platforms: [laptop]\n    env: { SHOP_API_KEY: "$$$$secret:api-key$$$$" }\n',
    )
    .replace("\nsecrets:\n", "\nsecrets:\n  api-key: { kind: given }\n")
  writeFileSync(file, text)
  console.log(
    '    (the owner adds to shop.yaml: env: { SHOP_API_KEY: "$$secret:api-key$$" }, secrets: { api-key: … })',
  )
}

export async function casChapter(): Promise<void> {
  chapter("4. Who gets the keys: a CAS with a policy, and an agent that vouches for this machine")
  must(`${coffer} cas init --store cas`)
  const listen = new URL(casUrl).host
  await serve(`cas serve --store cas --listen ${listen} --page none --quiet`)
  const status = must(`${coffer} cas status --store cas --json`, { show: false })
  const { cas: publicKey } = JSON.parse(status) as { readonly cas: string }
  completePolicy()
  must("head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n' > api.key", { show: false })
  const at = `--cas ${casUrl} --cas-key ${publicKey}`
  must(`${coffer} policy check shop.yaml`)
  must(
    `${coffer} policy create shop.yaml --key owner.pem --secret image-key=shop.keys --secret api-key=api.key ${at}`,
  )
  writeFileSync(
    nodeConfig,
    `version: 1\nplatform: { type: insecure-sim }\ncas: { url: "${casUrl}", key: "${publicKey}" }\nsocket: ${work}/agent/node.sock\n`,
    { mode: 0o600 },
  )
  await serve(`node serve --config ${nodeConfig} --state-dir ${work}/agent --quiet`)
  refused(
    `${coffer} policy check shop.yaml --simulate service=shop,platform=laptop,mrenclave=${"0".repeat(64)}`,
    5,
    /measurements/,
  )
  show("the policy names one MrEnclave: the simulator refuses another, and says why", true)
}
