import { makeEvidence, rawPublicKey, simEvidence } from "../attest/index.ts"
import { fromHex, toHex } from "../bytes/index.ts"
import {
  type AnchorTarget,
  type Answer,
  CasClient,
  httpTransport,
  openEmbeddedCas,
} from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import type { SealedBinary } from "../seal/index.ts"
import { ensureLocalPolicy } from "./local-policy.ts"
import { nodeKeys } from "./node-keys.ts"

/** Where an enclave gets its keys. */
export interface CasChoice {
  readonly target: AnchorTarget
  /** NAME/SERVICE; undefined: the service's own name, and with an embedded CAS a policy of its own is made. */
  readonly policy: string | undefined
  /** With an embedded CAS: this image may have the volumes of the one before it. */
  readonly accept: boolean
  /** Where this node keeps its keys. */
  readonly nodeDirectory: string
  /** True when another container of this node that lives has the volume, by `POLICY/VOLUME`. */
  readonly inUse: (volume: string) => boolean
}

export interface Configured {
  readonly answer: Answer
  readonly target: AnchorTarget
  readonly policy: string
}

const runtimeVersion = [0, 1, 0] as const

/** Attests the enclave to its CAS and returns what it may have. */
export async function configureEnclave(
  sealed: SealedBinary,
  choice: CasChoice,
): Promise<Configured> {
  const { manifest } = sealed
  const [policy = "", service = ""] = (choice.policy ?? `${manifest.name}/${manifest.name}`).split(
    "/",
  )
  if (policy === "" || service === "")
    throw new CofferError("usage", `--policy: wanted NAME/SERVICE, found ${choice.policy ?? ""}`)
  const client = await connect(sealed, choice)
  try {
    const answer = await attest(client, sealed, { policy, service, choice })
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

async function attest(client: CasClient, sealed: SealedBinary, subject: Subject): Promise<Answer> {
  const { policy, service, choice } = subject
  const keys = nodeKeys(choice.nodeDirectory)
  const platform = simEvidence(keys.sim, await client.challenge(), rawPublicKey(keys.node))
  const names = sealed.manifest.regions.flatMap((region) =>
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
    makeEvidence: (binding) => makeEvidence(platform, claimsOf(sealed), keys.node, binding),
  })
}

function claimsOf({ manifest, mrEnclave, signature }: SealedBinary) {
  return {
    mrEnclave: toHex(mrEnclave),
    mrSigner: signature === undefined ? undefined : toHex(signature.mrSigner),
    productId: signature?.isvProdId ?? 0,
    svn: signature?.isvSvn ?? 0,
    debug: manifest.debug,
    engineTrusted: true,
    runtimeVersion,
  }
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
