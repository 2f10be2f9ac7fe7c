import { fromHex, toHex } from "../bytes/index.ts"
import {
  type AnchorTarget,
  type Answer,
  CasClient,
  httpTransport,
  openEmbeddedCas,
} from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import { type NodeConfig, type NodeEnclave, openNode } from "../node/index.ts"
import type { SealedBinary } from "../seal/index.ts"
import { ensureLocalPolicy } from "./local-policy.ts"
import type { MeasuredFile } from "./sealed-image.ts"

/** Where an enclave gets its keys. */
export interface CasChoice {
  readonly target: AnchorTarget
  /** NAME/SERVICE; undefined: the service's own name, and with an embedded CAS a policy of its own is made. */
  readonly policy: string | undefined
  /** With an embedded CAS: this image may have the volumes of the one before it. */
  readonly accept: boolean
  /** Of this machine's agent; undefined: it has none, and this process vouches, with keys in `nodeDirectory`. */
  readonly node?: NodeConfig | undefined
  readonly nodeDirectory: string
  /** True when another container of this node that lives has the volume, by `POLICY/VOLUME`. */
  readonly inUse: (volume: string) => boolean
}

export interface Configured {
  readonly answer: Answer
  readonly target: AnchorTarget
  readonly policy: string
}

/** Attests the enclave to its CAS and returns what it may have. */
export async function configureEnclave(file: MeasuredFile, choice: CasChoice): Promise<Configured> {
  const { sealed } = file
  const { manifest } = sealed
  const [policy = "", service = ""] = (choice.policy ?? `${manifest.name}/${manifest.name}`).split(
    "/",
  )
  if (policy === "" || service === "")
    throw new CofferError("usage", `--policy: wanted NAME/SERVICE, found ${choice.policy ?? ""}`)
  const client = await connect(sealed, choice)
  try {
    const answer = await attest(client, file, { policy, service, choice })
    return { answer, target: choice.target, policy }
  } catch (error) {
    throw choice.target.type === "embedded" ? withAcceptHint(error) : error
  } finally {
    await client.close()
  }
}

async function connect(sealed: SealedBinary, choice: CasChoice): Promise<CasClient> {
  const { target } = choice
  if (target.type === "https") {
    const casKey = fromHex(target.casKey) ?? new Uint8Array()
    return new CasClient({ transport: httpTransport(target.url, casKey), casKey })
  }
  const { cas, client } = await openEmbeddedCas(target.dir)
  const { manifest, mrEnclave } = sealed
  if (choice.policy === undefined)
    await ensureLocalPolicy(
      cas,
      target.dir,
      { manifest, mrEnclave: toHex(mrEnclave) },
      choice.accept,
    )
  return client
}

interface Subject {
  readonly policy: string
  readonly service: string
  readonly choice: CasChoice
}

async function attest(
  client: CasClient,
  { sealed, source }: MeasuredFile,
  subject: Subject,
): Promise<Answer> {
  const { choice } = subject
  const node = await openNode(choice.node, { directory: choice.nodeDirectory })
  try {
    return await ask(client, await node.enclave(sealed, source.fd), sealed, subject)
  } finally {
    await node.close()
  }
}

async function ask(
  client: CasClient,
  enclave: NodeEnclave,
  { manifest }: SealedBinary,
  { policy, service, choice }: Subject,
): Promise<Answer> {
  const names = manifest.regions.flatMap((region) =>
    region.kind === "volume" ? [region.volume] : [],
  )
  const volumes = [...new Set(names)].map((name) => ({
    name,
    access: "write" as const,
    instance: 0,
    // A container of ours that was killed has left its lease behind; one that lives keeps it.
    takeover: !choice.inUse(`${policy}/${name}`),
  }))
  return await client.attest({
    policy,
    service,
    volumes,
    makeEvidence: (binding) => enclave.evidence(binding, () => client.challenge()),
  })
}

function withAcceptHint(error: unknown): unknown {
  if (!(error instanceof CofferError) || error.code !== "refused" || error.hint !== undefined)
    return error
  return new CofferError("refused", error.message, {
    cause: error,
    facts: error.facts,
    ...(error.reason === undefined ? {} : { reason: error.reason }),
    hint: "if this image is the new version of the one before: coffer run --accept IMAGE",
  })
}
