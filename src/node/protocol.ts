import { z } from "zod"
import { CofferError, type ErrorCode } from "../errors.ts"

/**
 * Between the runtime and the agent: lines of JSON over a unix socket, one reply to each request, in order. A connection is
 * for one enclave: the agent signs over it for what it measured over it, and for nothing else.
 */

const hex32 = z.string().regex(/^[0-9a-f]{64}$/)

export const requestSchema = z.discriminatedUnion("verb", [
  /** Measure the sealed binary behind this descriptor of the asking process. */
  z.strictObject({ verb: z.literal("enclave"), fd: z.int().min(0).max(1_048_575) }),
  z.strictObject({
    verb: z.literal("evidence"),
    nonce: hex32,
    ephemeralKey: hex32,
    casKey: hex32,
    policyName: z.string().min(1).max(200),
    /** The CAS's challenge for platform evidence, when the agent has asked for one. */
    platformNonce: hex32.optional(),
  }),
  z.strictObject({ verb: z.literal("status") }),
])
export type AgentRequest = z.output<typeof requestSchema>

const codes = [
  "usage",
  "config",
  "integrity",
  "rollback",
  "refused",
  "missing",
  "io",
  "fault",
] as const satisfies readonly ErrorCode[]

const errorSchema = z.strictObject({
  code: z.enum(codes),
  message: z.string(),
  reason: z.string().optional(),
  hint: z.string().optional(),
})

const statusSchema = z.strictObject({
  platform: z.string(),
  nodeKey: hex32,
  engine: z.enum(["trusted", "outside"]),
  enclaves: z.array(hex32),
})
export type NodeStatus = Readonly<z.output<typeof statusSchema>>

export const replySchema = z.union([
  z.strictObject({ error: errorSchema }),
  z.strictObject({ mrEnclave: hex32 }),
  /** Null: no platform evidence is at hand, ask again with a challenge of that CAS. */
  z.strictObject({ evidence: z.unknown() }),
  z.strictObject({ status: statusSchema }),
])
export type AgentReply = z.output<typeof replySchema>

/** Longer lines are not of this protocol. Evidence has some 40 KiB. */
export const maxLine = 262_144

export function errorReply(error: unknown): AgentReply {
  const known = error instanceof CofferError
  if (!known) return { error: { code: "fault", message: "node agent: a fault of its own" } }
  const { code, message, reason, hint } = error
  return {
    error: {
      code,
      message,
      ...(reason === undefined ? {} : { reason }),
      ...(hint === undefined ? {} : { hint }),
    },
  }
}

/** Lines of a stream; throws `io` for one that is too long. */
export class Lines {
  #rest = ""

  push(chunk: string): readonly string[] {
    const lines = (this.#rest + chunk).split("\n")
    this.#rest = lines.pop() ?? ""
    if (this.#rest.length <= maxLine && lines.every((line) => line.length <= maxLine)) return lines
    throw new CofferError(
      "io",
      `node agent: wanted lines of at most ${maxLine} characters, found more`,
    )
  }
}
