import { chmodSync, lstatSync, mkdirSync, readlinkSync, unlinkSync } from "node:fs"
import { connect, createServer, type Server, type Socket } from "node:net"
import { dirname } from "node:path"
import { type EnclaveClaims, rawPublicKey } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { openFile, readSealed } from "../seal/index.ts"
import { type Peer, peerOf } from "../sys/index.ts"
import type { NodeConfig } from "./config.ts"
import { bytes32, type Voucher } from "./node.ts"
import { openVoucher, type VoucherSetup } from "./open.ts"
import { type AgentReply, type AgentRequest, errorReply, Lines, requestSchema } from "./protocol.ts"

export type AgentEvent =
  | { readonly event: "measured"; readonly pid: number; readonly mrEnclave: string }
  | {
      readonly event: "vouched"
      readonly pid: number
      readonly mrEnclave: string
      readonly policy: string
    }
  | {
      readonly event: "refused"
      readonly pid: number
      readonly uid: number
      readonly message: string
    }

export interface AgentOptions extends VoucherSetup {
  readonly config: NodeConfig
  readonly log: (event: AgentEvent) => void
}

export interface NodeAgent {
  readonly platformType: string
  /** Ed25519, hex. */
  readonly nodeKey: string
  /** Idempotent. */
  close(): Promise<void>
}

const connectionMax = 256
const connectionMs = 120_000

/** Serves the agent on its socket until `close`. The folder of the socket must be this user's alone. */
export async function serveNode(options: AgentOptions): Promise<NodeAgent> {
  const { socket: path } = options.config
  const { voucher, measurements, keys } = openVoucher(options.config, options)
  await makeWay(path)
  const nodeKey = toHex(rawPublicKey(keys.node))
  const agent = { ...options, voucher, nodeKey, enclaves: () => measurements.all }
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
    serveOne(socket, agent)
  })
  server.maxConnections = connectionMax
  await listen(server, path)
  return {
    platformType: voucher.platformType,
    nodeKey,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** A socket that nobody serves is taken away; one that somebody serves is not ours. */
async function makeWay(path: string): Promise<void> {
  const folder = dirname(path)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid, mode } = lstatSync(folder)
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0)
      throw new CofferError(
        "config",
        `${folder}: wanted a folder that only we can write, found uid ${uid}, mode ${(mode & 0o7777).toString(8)}`,
        { hint: "the agent's socket stands in /run/coffer, or in another folder of root's alone" },
      )
    if (await answers(path))
      throw new CofferError("usage", `${path}: wanted no agent there, found one that answers`, {
        hint: "one machine has one node agent: stop the other",
      })
    unlinkSync(path)
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw fromSystem(error, path)
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
    const end = (yes: boolean) => {
      probe.destroy()
      resolve(yes)
    }
    probe.once("connect", () => end(true))
    probe.once("error", () => end(false))
  })
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(fromSystem(error, path)))
    // The file is there before its mode can be changed: the mask sees to it that it is closed from the first.
    const before = process.umask(0o177)
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve()
    })
    process.umask(before)
  })
}

interface Agent {
  readonly config: NodeConfig
  readonly voucher: Voucher
  readonly nodeKey: string
  readonly enclaves: () => readonly string[]
  readonly log: AgentOptions["log"]
}

function serveOne(socket: Socket, agent: Agent): void {
  const lines = new Lines()
  let last = Promise.resolve()
  let session: Session | undefined
  socket.setEncoding("utf8")
  socket.setTimeout(connectionMs, () => socket.destroy())
  socket.on("error", () => socket.destroy())
  const answer = async (line: string) => {
    let reply: AgentReply
    try {
      session ??= new Session(requirePeer(socket), agent)
      reply = await session.perform(parseRequest(line))
    } catch (error) {
      const { pid, uid } = session?.peer ?? peerOrNone(socket)
      agent.log({ event: "refused", pid, uid, message: messageOf(error) })
      reply = errorReply(error)
    }
    if (!socket.destroyed) socket.write(`${JSON.stringify(reply)}\n`)
  }
  socket.on("data", (chunk: string) => {
    try {
      for (const line of lines.push(chunk)) last = last.then(() => answer(line))
    } catch {
      socket.destroy()
    }
  })
}

function messageOf(error: unknown): string {
  return error instanceof CofferError ? error.message : `a fault of our own: ${String(error)}`
}

function parseRequest(line: string): AgentRequest {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw new CofferError("usage", "node agent: wanted a line of JSON, found something else")
  }
  const parsed = requestSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const field = parsed.error.issues[0]?.path.map(String).join(".") ?? ""
  throw new CofferError(
    "usage",
    `node agent: ${field || "request"}: wanted a request of the protocol`,
  )
}

function fdOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } }
  if (handle?.fd === undefined || handle.fd < 0)
    throw new CofferError("io", "node agent: the peer has gone")
  return handle.fd
}

function peerOrNone(socket: Socket): { readonly pid: number; readonly uid: number } {
  try {
    return peerOf(fdOf(socket))
  } catch {
    return { pid: 0, uid: -1 }
  }
}

// The socket's mode lets only root in. A container's root is root too, if somebody mounts the socket into it: it has a
// PID or user namespace of its own, and the runtime has not.
function requirePeer(socket: Socket): Peer {
  const peer = peerOf(fdOf(socket))
  const ours = process.getuid?.()
  const reason = "node-peer"
  if (peer.uid !== ours)
    throw new CofferError(
      "refused",
      `node agent: wanted a process of uid ${ours}, found uid ${peer.uid}`,
      {
        reason,
      },
    )
  for (const kind of ["pid", "user"])
    if (namespaceOf(peer.pid, kind) !== namespaceOf("self", kind))
      throw new CofferError(
        "refused",
        `node agent: wanted the runtime of this machine, found a process in another ${kind} namespace`,
        { reason },
      )
  return peer
}

function namespaceOf(pid: number | "self", kind: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`)
  } catch (error) {
    if (isErrno(error, "ENOENT", "EACCES", "ESRCH")) return `unknown, of ${pid}`
    throw fromSystem(error, `namespace of ${pid}`)
  }
}

/** One connection: at most one enclave, measured here. */
class Session {
  readonly peer: Peer
  readonly #agent: Agent
  #claims: EnclaveClaims | undefined

  constructor(peer: Peer, agent: Agent) {
    this.peer = peer
    this.#agent = agent
  }

  async perform(request: AgentRequest): Promise<AgentReply> {
    switch (request.verb) {
      case "enclave":
        return await this.#measure(request.fd)
      case "evidence":
        return await this.#vouch(request)
      case "status": {
        const { voucher, config, nodeKey, enclaves } = this.#agent
        const { engine } = config
        return {
          status: { platform: voucher.platformType, nodeKey, engine, enclaves: [...enclaves()] },
        }
      }
    }
  }

  async #measure(fd: number): Promise<AgentReply> {
    if (this.#claims !== undefined)
      throw new CofferError("usage", "node agent: wanted one enclave a connection, found a second")
    // Not what the asker says that it is: what its descriptor holds, read and measured here.
    const source = openFile(`/proc/${this.peer.pid}/fd/${fd}`)
    try {
      this.#claims = await this.#agent.voucher.measured(readSealed(source))
    } finally {
      source.close()
    }
    const { mrEnclave } = this.#claims
    this.#agent.log({ event: "measured", pid: this.peer.pid, mrEnclave })
    return { mrEnclave }
  }

  async #vouch(request: Extract<AgentRequest, { verb: "evidence" }>): Promise<AgentReply> {
    const claims = this.#claims
    if (claims === undefined)
      throw new CofferError(
        "refused",
        "node agent: wanted an enclave that was measured over this connection, found none",
        { reason: "node-enclave" },
      )
    const { policyName, platformNonce } = request
    const binding = {
      nonce: bytes32(request.nonce),
      ephemeralKey: bytes32(request.ephemeralKey),
      casKey: bytes32(request.casKey),
      policyName,
    }
    const nonce = platformNonce === undefined ? undefined : bytes32(platformNonce)
    const evidence = await this.#agent.voucher.evidence(claims, binding, nonce)
    if (evidence === undefined) return { evidence: null }
    const { mrEnclave } = claims
    this.#agent.log({ event: "vouched", pid: this.peer.pid, mrEnclave, policy: policyName })
    return { evidence }
  }
}
