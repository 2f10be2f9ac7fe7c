import { z } from "zod"
import { toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { signedActSchema } from "./acts.ts"
import { sealedAnswerSchema } from "./answer.ts"
import { attestRequestSchema } from "./attestation.ts"
import type { Cas } from "./cas.ts"
import { signedHeadSchema } from "./head.ts"
import {
  challengeSchema,
  currentRequestSchema,
  infoSchema,
  keysReplySchema,
  leaseRequestSchema,
  moveRequestSchema,
  positionReplySchema,
  rekeyRequestSchema,
} from "./requests.ts"

/** One call of the protocol: what goes in, what comes out, and who does it. The server and the embedding share them. */
export interface Route {
  readonly path: string
  readonly summary: string
  readonly request: z.ZodType
  readonly reply: z.ZodType
  /** True when repeating it after a lost reply is harmless. */
  readonly repeatable: boolean
  /** What it counts for in the limit of requests, by the CPU time that it takes. */
  readonly cost: number
  /** `from`: the address of who asks, for the log. */
  call(cas: Cas, body: unknown, from?: string): Promise<unknown>
}

interface Definition<Q extends z.ZodType> {
  readonly path: string
  readonly summary: string
  readonly request: Q
  readonly reply: z.ZodType
  readonly repeatable: boolean
  readonly cost?: number
  handle(cas: Cas, request: z.output<Q>, from: string | undefined): Promise<unknown>
}

function route<Q extends z.ZodType>(definition: Definition<Q>): Route {
  const { path, summary, request, reply, repeatable, cost = 1 } = definition
  return {
    cost,
    path,
    summary,
    request,
    reply,
    repeatable,
    call: async (cas, body, from) =>
      await definition.handle(cas, parseRequest(path, request, body), from),
  }
}

function parseRequest<Q extends z.ZodType>(path: string, schema: Q, body: unknown): z.output<Q> {
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const field = (issue?.path ?? []).map(String).join(".").slice(0, 100) || "body"
  // The value is not repeated: it may be a secret.
  const wanted =
    issue?.code === "unrecognized_keys"
      ? "no other key than those of the schema"
      : (issue?.message ?? "another value").slice(0, 200)
  throw new CofferError("config", `${path}: ${field}: ${wanted}`, {
    reason: "request-schema",
    facts: { field },
  })
}

const empty = z.strictObject({})
const actReplySchema = z.strictObject({
  result: z.looseObject({ verb: z.string() }),
  head: signedHeadSchema,
})
export const attestReplySchema = z.strictObject({ answer: sealedAnswerSchema })

export const routes: readonly Route[] = [
  route({
    path: "/v1/info",
    summary: "Who this CAS is, and the signed head of its log",
    request: empty,
    reply: infoSchema,
    repeatable: true,
    handle: (cas) => cas.info(),
  }),
  route({
    path: "/v1/challenge",
    summary: "A nonce for one attestation within a minute",
    request: empty,
    reply: challengeSchema,
    repeatable: true,
    handle: (cas) => Promise.resolve({ nonce: toHex(cas.challenge()), cas: cas.identity.name }),
  }),
  route({
    path: "/v1/attest",
    summary: "Evidence in, configuration out, encrypted to the attested key and signed",
    request: attestRequestSchema,
    reply: attestReplySchema,
    repeatable: false,
    cost: 20,
    handle: async (cas, request, from) => ({ answer: (await cas.attest(request, from)).answer }),
  }),
  route({
    path: "/v1/tags/move",
    summary: "Moves the tag of a volume by compare-and-swap",
    request: moveRequestSchema,
    reply: positionReplySchema,
    repeatable: true,
    handle: (cas, request, from) => cas.moveTag(request, from),
  }),
  route({
    path: "/v1/tags/current",
    summary: "The newest anchored state of a volume",
    request: currentRequestSchema,
    reply: positionReplySchema,
    repeatable: true,
    handle: (cas, request, from) => cas.current(request, from),
  }),
  route({
    path: "/v1/leases/renew",
    summary: "Keeps a writer's lease",
    request: leaseRequestSchema,
    reply: positionReplySchema,
    repeatable: true,
    handle: (cas, request, from) => cas.renew(request, false, from),
  }),
  route({
    path: "/v1/leases/release",
    summary: "Gives a writer's lease back",
    request: leaseRequestSchema,
    reply: positionReplySchema,
    repeatable: true,
    handle: (cas, request, from) => cas.renew(request, true, from),
  }),
  route({
    path: "/v1/keys/drop",
    summary: "Drops old key generations of a volume, after a retire commit",
    request: rekeyRequestSchema,
    reply: keysReplySchema,
    repeatable: true,
    handle: (cas, request, from) => cas.dropKeys(request, from),
  }),
  route({
    path: "/v1/acts",
    summary: "An act signed by access keys: policies, restore, reset, rekey",
    request: signedActSchema,
    reply: actReplySchema,
    repeatable: false,
    cost: 200,
    handle: (cas, request, from) => cas.act(request, from),
  }),
]

const byPath = new Map(routes.map((one) => [one.path, one]))

export function routeOf(path: string): Route | undefined {
  return byPath.get(path)
}

function json(schema: z.ZodType) {
  return {
    "application/json": { schema: z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) },
  }
}

/** The OpenAPI 3.1 document that the server serves: made from the schemas that it checks with. */
export function openApiDocument(version: string): Record<string, unknown> {
  const paths = routes.map(({ path, summary, request, reply }) => [
    path,
    {
      post: {
        summary,
        operationId: path.replace("/v1/", "").replaceAll("/", "-"),
        requestBody: { required: true, content: json(request) },
        responses: {
          "200": { description: "done", content: json(reply) },
          default: { description: "refused or failed", content: json(errorSchema) },
        },
      },
    },
  ])
  return {
    openapi: "3.1.0",
    info: {
      title: "Coffer CAS",
      version,
      description:
        "Configuration and attestation service: spec/cas-protocol.md. TLS by a key that the CAS's pinned identity has signed.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths: Object.fromEntries(paths) as unknown,
  }
}

export const errorSchema = z.strictObject({
  error: z.strictObject({
    code: z.enum(["usage", "config", "integrity", "rollback", "refused", "missing", "io", "fault"]),
    reason: z.string().optional(),
    message: z.string(),
    hint: z.string().optional(),
    facts: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))
      .optional(),
  }),
})
