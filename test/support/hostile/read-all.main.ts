/** Reads every image of the corpus, bombs aside, in the folder that is given: for a tracer to look at. */
import { mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { CofferError } from "../../../src/errors.ts"
import { parseCofferYaml } from "../../../src/manifest/index.ts"
import { imageTree, openImage, parseImageReference } from "../../../src/oci/index.ts"
import { protectImage } from "../../../src/protect/index.ts"
import { archives } from "./archives.ts"
import { escapes, links, members, whiteouts } from "./layers.ts"
import { blobs, documents } from "./layouts.ts"

const [base = ""] = process.argv.slice(2)
const canary = join(base, "canary")
const platform = { os: "linux", architecture: "amd64" }
const hostile = [...escapes(canary), ...links(canary), ...whiteouts, ...members]

async function* nothing(): AsyncGenerator<Uint8Array> {}

/** As `coffer protect` does, where the corpus has a program to start. */
async function protect(reference: string): Promise<void> {
  await protectImage({
    from: parseImageReference(reference),
    to: { kind: "layout", directory: join(base, "out"), tag: "1" },
    service: parseCofferYaml("version: 1\n", "coffer.yaml"),
    name: "hostile",
    input: nothing(),
    output: () => undefined,
    progress: () => () => undefined,
  })
}

async function read(reference: string): Promise<void> {
  const image = await openImage(parseImageReference(reference), { platform, input: nothing() })
  try {
    const tree = await imageTree(image, () => undefined)
    tree.close()
  } finally {
    image.close()
  }
}

for (const { make } of [...hostile, ...blobs, ...documents, ...archives]) {
  const folder = join(base, "image")
  mkdirSync(folder)
  try {
    const reference = make(folder)
    await read(reference)
    await protect(reference)
  } catch (error) {
    if (!(error instanceof CofferError)) throw error
  } finally {
    rmSync(folder, { recursive: true })
  }
}
