import { connect, type Socket } from "node:net"
import { type Evidence, parseEvidence } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import type { Node, NodeEnclave } from "./node.ts"
import {
  type AgentReply,
  type AgentRequest,
  Lines,
  type NodeStatus,
  replySchema,
} from "./protocol.ts"

const replyMs = 60_000

/** The agent behind a socket. One connection for each enclave: `Node.enclave` may be called more than once. */
export async function connectNode(path: string): Promise<Node> {
  const open: Connection[] = []
  const first = await Connection.open(path)
  open.push(first)
  let unused: Connection | undefined = first
  return {
    async enclave(sealed, fd) {
      const connection = unused ?? (await Connection.open(path))
      if (connection !== unused) open.push(connection)
      unused = undefined
      const reply = await connection.ask({ verb: "enclave", fd })
      const wanted = toHex(sealed.mrEnclave)
      const found = "mrEnclave" in reply ? reply.mrEnclave : "nothing"
      // The disk may have shown the agent another file than us: it would vouch for that one, and we would run this one.
      if (found !== wanted)
        throw new CofferError(
          "integrity",
          `sealed binary: wanted MrEnclave ${wanted}, as measured before, found ${found} in the agent's measurement`,
          { reason: "node-measurement", hint: "the file changed between two reads" },
        )
      return enclaveOver(connection)
    },
    close() {
      for (const connection of open) connection.close()
      return Promise.resolve()
    },
  }
}

/** What an agent says of itself. */
export async function nodeStatus(path: string): Promise<NodeStatus> {
  const connection = await Connection.open(path)
  try {
    const reply = await connection.ask({ verb: "status" })
    if ("status" in reply) return reply.status
    throw offProtocol(path)
  } finally {
    connection.close()
  }
}

function enclaveOver(connection: Connection): NodeEnclave {
  return {
    async evidence(binding, challenge) {
      const request = {
        verb: "evidence",
        nonce: toHex(binding.nonce),
        ephemeralKey: toHex(binding.ephemeralKey),
        casKey: toHex(binding.casKey),
        policyName: binding.policyName,
      } as const
      const kept = await connection.evidence(request)
      if (kept !== undefined) return kept
      const made = await connection.evidence({
        ...request,
        platformNonce: toHex(await challenge()),
      })
      if (made !== undefined) return made
      throw offProtocol("evidence")
    },
  }
}

function offProtocol(what: string): CofferError {
  return new CofferError(
    "io",
    `node agent: ${what}: wanted a reply of the protocol, found another`,
    {
      reason: "node-reply",
    },
  )
}

class Connection {
  readonly #socket: Socket
  readonly #path: string
  readonly #lines = new Lines()
  #waiting: ((line: string | Error) => void) | undefined

  private constructor(socket: Socket, path: string) {
    this.#socket = socket
    this.#path = path
    socket.setEncoding("utf8")
    socket.on("data", (chunk: string) => {
      try {
        for (const line of this.#lines.push(chunk)) this.#settle(line)
      } catch (error) {
        this.#settle(error instanceof Error ? error : offProtocol(path))
      }
    })
    socket.on("error", (error) => this.#settle(fromSystem(error, path)))
    socket.on("close", () => this.#settle(gone(path)))
  }

  static async open(path: string): Promise<Connection> {
    const socket = connect(path)
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve)
      socket.once("error", (error) =>
        reject(fromSystem(error, `node agent at ${path}`, "start it: coffer node serve")),
      )
    })
    return new Connection(socket, path)
  }

  /** One at a time. Throws the agent's own error. */
  async ask(request: AgentRequest): Promise<Exclude<AgentReply, { error: unknown }>> {
    const line = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(gone(this.#path)), replyMs)
      this.#waiting = (settled) => {
        clearTimeout(timer)
        if (typeof settled === "string") resolve(settled)
        else reject(settled)
      }
      if (this.#socket.destroyed) this.#settle(gone(this.#path))
      else this.#socket.write(`${JSON.stringify(request)}\n`)
    })
    const reply = parseReply(line, this.#path)
    if (!("error" in reply)) return reply
    const { code, message, reason, hint } = reply.error
    throw new CofferError(code, message, {
      ...(reason === undefined ? {} : { reason }),
      ...(hint === undefined ? {} : { hint }),
    })
  }

  async evidence(
    request: Extract<AgentRequest, { verb: "evidence" }>,
  ): Promise<Evidence | undefined> {
    const reply = await this.ask(request)
    if (!("evidence" in reply)) throw offProtocol(this.#path)
    return reply.evidence === null ? undefined : parseEvidence(reply.evidence)
  }

  close(): void {
    this.#socket.destroy()
  }

  #settle(line: string | Error): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.(line)
  }
}

function gone(path: string): CofferError {
  return new CofferError(
    "io",
    `node agent at ${path}: wanted a reply, found the connection closed`,
    {
      reason: "node-gone",
    },
  )
}

function parseReply(line: string, path: string): AgentReply {
  try {
    return replySchema.parse(JSON.parse(line))
  } catch {
    throw offProtocol(path)
  }
}
