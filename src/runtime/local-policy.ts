import type { KeyObject } from "node:crypto"
import { join } from "node:path"
import { rawPublicKey } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { type ActBody, type ActResult, type Cas, signAct } from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import { ed25519File } from "../node/index.ts"
import { type Policy, policyFromValue } from "../policy/index.ts"

// Alone on a machine, nobody has written a policy. The first start of a service writes one, which trusts that image and
// no other: trust at first use. A later image is accepted by a person, never by itself.

const platform = "here"

/** The policy of a service that runs with the embedded CAS. Made when absent; `accept`: another image may have its volumes now. */
export async function ensureLocalPolicy(
  cas: Cas,
  directory: string,
  enclave: { readonly manifest: MeasuredManifest; readonly mrEnclave: string },
  accept: boolean,
): Promise<void> {
  const key = ed25519File(join(directory, "operator.key"))
  const { name } = enclave.manifest
  const before = await readPolicy(cas, key, name)
  if (before !== undefined && (!accept || trusts(before.document, enclave))) return
  const document = localPolicy(enclave, toHex(rawPublicKey(key)), before?.hash)
  await perform(cas, key, name, { verb: "put-policy", document, given: {} })
}

function trusts(policy: Policy, { manifest, mrEnclave }: Parameters<typeof localPolicy>[0]) {
  return policy.services[manifest.name]?.measurements.includes(mrEnclave) === true
}

function localPolicy(
  enclave: { readonly manifest: MeasuredManifest; readonly mrEnclave: string },
  operator: string,
  predecessor: string | undefined,
): Policy {
  const { name, regions, debug } = enclave.manifest
  const volumes = regions.filter((region) => region.kind === "volume")
  return policyFromValue(
    {
      version: 1,
      name,
      ...(predecessor === undefined ? {} : { predecessor }),
      services: {
        [name]: {
          measurements: [enclave.mrEnclave],
          platforms: [platform],
          insecureDebug: debug,
          volumes: Object.fromEntries(volumes.map(({ volume }) => [volume, "write"])),
        },
      },
      platforms: { [platform]: { type: "insecure-sim" } },
      volumes: Object.fromEntries(
        volumes.map(({ volume, protection }) => [volume, { protection }]),
      ),
      access: { keys: { operator }, update: { of: ["operator"] } },
    },
    "local policy",
  )
}

async function readPolicy(cas: Cas, key: KeyObject, name: string) {
  try {
    const result = await perform(cas, key, name, { verb: "read-policy" })
    return result.verb === "read-policy" ? result : undefined
  } catch (error) {
    if (error instanceof CofferError && error.reason === "policy-unknown") return undefined
    throw error
  }
}

async function perform(
  cas: Cas,
  key: KeyObject,
  policy: string,
  body: ActBody,
): Promise<ActResult> {
  const expires = Math.floor(Date.now() / 1000) + 60
  const act = { version: 1, cas: cas.identity.name, policy, expires, body } as const
  const reply = await cas.act(signAct(act, [key]))
  return reply.result
}
