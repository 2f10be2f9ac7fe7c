import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { fromHex } from "../../src/bytes/index.ts"
import { httpTransport } from "../../src/cas/http-transport.ts"
import { CasClient, signAct } from "../../src/cas/index.ts"
import { parsePolicy } from "../../src/policy/index.ts"
import { person } from "./cas.ts"

const master = "11".repeat(32)
const main = new URL("./cas-server.main.ts", import.meta.url).pathname

/** A CAS in a process of its own, which tests kill, stop and start again at the same address. */
export class RemoteCas {
  readonly #store: string
  readonly #admin = person()
  #child: ChildProcess | undefined
  #port = "0"
  url = ""
  /** Its public key, hex. */
  key = ""

  constructor(store: string) {
    this.#store = store
  }

  get admin(): string {
    return this.#admin.public
  }

  async start(): Promise<void> {
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", main, this.#store, master, this.#port],
      { stdio: ["ignore", "pipe", "inherit", "ipc"] },
    )
    this.#child = child
    const [line] = (await once(createInterface({ input: child.stdout as Readable }), "line")) as [
      string,
    ]
    const [url = "", key = ""] = line.split(" ")
    this.url = url
    this.key = key
    this.#port = new URL(url).port
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name)
  }

  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, "exit")
    child.kill("SIGKILL")
    await ended
  }

  async putPolicy(text: string): Promise<void> {
    const casKey = fromHex(this.key) ?? new Uint8Array()
    const client = new CasClient({ transport: httpTransport(this.url, casKey), casKey })
    const document = parsePolicy(text, "policy.yaml")
    const expires = Math.floor(Date.now() / 1000) + 60
    const body = { verb: "put-policy", document, given: {} } as const
    const act = { version: 1, cas: this.key, policy: document.name, expires, body } as const
    try {
      await client.act(signAct(act, [this.#admin.key]))
    } finally {
      await client.close()
    }
  }
}
