import { setTimeout as sleep } from "node:timers/promises"
import { fromHex, toHex } from "../bytes/index.ts"
import {
  type AnchorTarget,
  type Answer,
  CasClient,
  HeadMemory,
  openEmbeddedCas,
  remoteTransport,
} from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import { type NodeConfig, openNode } from "../node/index.ts"
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
  /** The key of the image's encrypted content, 32 bytes, for the policy that is made here. */
  readonly imageKey?: Uint8Array | undefined
  /** What vouches for the enclave; undefined: this process, on the platform `insecure-sim`. */
  readonly node: NodeConfig | undefined
  /** Where what ends with the boot is kept: keys of a machine without an agent, the newest heads. */
  readonly stateDirectory: string
  /** Which of the policy's instances this is, for replicas with a volume each; default 0. */
  readonly instance?: number | undefined
  /** True when another container of this node that lives has the volume, by `POLICY/VOLUME/INSTANCE`. */
  readonly inUse: (volume: string) => boolean
}

export interface Configured {
  readonly answer: Answer
  /** With the key that the measured manifest pins, if it does. */
  readonly target: AnchorTarget
  readonly policy: string
  /**
   * To be called when the volumes are open: they may know a newer state of the CAS than this machine does, and then what
   * the CAS says now is not to be remembered.
   */
  remember(): void
  /** Lets go of the CAS. Idempotent; after the volumes are open, so that an embedded CAS need not be opened from its disk again. */
  close(): Promise<void>
}

const deadlineMs = 60_000

/** Attests the enclave to its CAS and returns what it may have, within a minute. */
export async function configureEnclave(file: MeasuredFile, choice: CasChoice): Promise<Configured> {
  const { sealed, source } = file
  const { manifest } = sealed
  const [policy = "", service = ""] = (choice.policy ?? `${manifest.name}/${manifest.name}`).split(
    "/",
  )
  if (policy === "" || service === "")
    throw new CofferError("usage", `--policy: wanted NAME/SERVICE, found ${choice.policy ?? ""}`)
  const target = pinnedTarget(choice.target, manifest.cas?.publicKey)
  const heads = new HeadMemory(choice.stateDirectory)
  const client = await connect(file, { ...choice, target }, heads)
  try {
    const subject = { policy, service, choice, fd: source.fd }
    const answer = await inTime(attest(client, sealed, subject), nameOf(target))
    const remember = () => {
      if (target.type === "https") heads.keep(answer.head)
    }
    return { answer, target, policy, remember, close: () => client.close() }
  } catch (error) {
    await client.close()
    throw target.type === "embedded" && choice.policy === undefined ? withAcceptHint(error) : error
  }
}

/** The address is anybody's choice; the key is the measured manifest's, when it names one. */
function pinnedTarget(target: AnchorTarget, measured: string | undefined): AnchorTarget {
  return target.type === "https" && measured !== undefined
    ? { ...target, casKey: measured }
    : target
}

function nameOf(target: AnchorTarget): string {
  return target.type === "https" ? `CAS at ${target.url}` : "the embedded CAS"
}

async function inTime<T>(work: Promise<T>, what: string): Promise<T> {
  const end = new AbortController()
  const late = async (): Promise<never> => {
    await sleep(deadlineMs, undefined, { signal: end.signal })
    throw new CofferError(
      "missing",
      `${what}: wanted the attestation done within ${deadlineMs / 1000} s, found that it still goes on`,
      { reason: "attestation-deadline", hint: "is the CAS overloaded, or the way to it slow?" },
    )
  }
  const deadline = late()
  for (const promise of [work, deadline]) promise.catch(() => undefined)
  try {
    return await Promise.race([work, deadline])
  } finally {
    end.abort()
  }
}

async function connect(
  file: MeasuredFile,
  choice: CasChoice,
  heads: HeadMemory,
): Promise<CasClient> {
  const { target } = choice
  if (target.type === "https") {
    const casKey = fromHex(target.casKey) ?? new Uint8Array()
    const seen = heads.newest(target.casKey)
    const transport = await remoteTransport(target.url, casKey)
    return new CasClient({ transport, casKey, ...(seen === undefined ? {} : { seen }) })
  }
  const { cas, client } = await openEmbeddedCas(target.dir)
  const { manifest } = file.sealed
  try {
    requireMeasured(toHex(client.casKey), manifest.cas?.publicKey)
    if (choice.policy === undefined) await ensureLocalPolicy(cas, target.dir, file, choice)
    return client
  } catch (error) {
    await client.close()
    throw error
  }
}

// Who may choose the CAS chooses the service's configuration: an image that names its CAS gets it from no other.
function requireMeasured(found: string, measured: string | undefined): void {
  if (measured === undefined || measured === found) return
  throw new CofferError(
    "refused",
    `CAS: wanted ${measured}, as measured, found the embedded one, ${found}`,
    { reason: "cas-key", hint: "name the CAS: --cas URL, or cas.url in /etc/coffer/node.yaml" },
  )
}

interface Subject {
  readonly policy: string
  readonly service: string
  readonly choice: CasChoice
  /** The sealed binary's file. */
  readonly fd: number
}

async function attest(client: CasClient, sealed: SealedBinary, subject: Subject): Promise<Answer> {
  const { policy, service, choice } = subject
  const { instance = 0 } = choice
  const names = sealed.manifest.regions.flatMap((region) =>
    region.kind === "volume" ? [region.volume] : [],
  )
  const volumes = [...new Set(names)].map((name) => ({
    // Writing or reading: what the policy grants.
    name,
    instance,
    // A container of ours that was killed has left its lease behind; one that lives keeps it.
    takeover: !choice.inUse(`${policy}/${name}/${instance}`),
  }))
  const node = await openNode(choice.node, { directory: choice.stateDirectory })
  try {
    const enclave = await node.enclave(sealed, subject.fd)
    return await client.attest({
      policy,
      service,
      volumes,
      makeEvidence: (binding) => enclave.evidence(binding, () => client.challenge()),
    })
  } finally {
    await node.close()
  }
}

/** Nobody wrote the policy of a machine alone: a person accepts the new image, where others would change a document. */
function withAcceptHint(error: unknown): unknown {
  if (!(error instanceof CofferError) || error.reason?.endsWith("-measurements") !== true)
    return error
  return new CofferError("refused", error.message, {
    cause: error,
    facts: error.facts,
    reason: error.reason,
    hint: "if this image is the new version of the one before: coffer run --accept IMAGE",
  })
}
