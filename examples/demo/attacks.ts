/** Chapter 6: what the adversary, who has the disk and the engine, tries; and the sentence that it gets. */
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { answer } from "./client.ts"
import { flipByte } from "./code.ts"
import { ended, loadImage, logs, remove, type StartOptions, start, storedFiles } from "./podman.ts"
import { chapter, must, show, work } from "./story.ts"

const data = join(work, "orders")

/** A start, or the service that it started, must end with this sentence. */
export function refusedStart(
  image: string,
  fact: string,
  sentence: RegExp,
  options: StartOptions = {},
): void {
  const { status, err } = start(image, options)
  const said = status === 0 ? `${ended(options.name)}\n${logs(options.name)}` : err
  remove(options.name)
  const line = said.split("\n").find((text) => sentence.test(text))
  if (line === undefined || (/^(0|)\n/.test(said) && status === 0))
    throw new Error(`wanted ${sentence}, found ${status}: ${said}`)
  console.log(
    `    ${line
      .replaceAll(work, "DEMO")
      .replace(/^.*?coffer(-oci)?: /, "")
      .slice(0, 500)}`,
  )
  show(`refused: ${fact}`, true)
}

/** What is damaged is an error for who reads it: the service runs, and gets no wrong byte. */
async function refusedRead(shop: string): Promise<void> {
  const { status, err } = start(shop)
  if (status !== 0) {
    remove()
    console.log(`    ${err.split("\n")[0]}`)
    show("refused: changed bits of the volume", /wanted/.test(err))
    return
  }
  const orders = await answer().catch(() => "no answer")
  const said = logs()
  remove()
  console.log(`    ${/^.*(I\/O|Input\/output) error.*$/m.exec(said)?.[0] ?? said}`)
  show(
    "refused: changed bits of the volume",
    orders === "no answer" && /(I\/O|Input\/output) error/.test(said),
  )
}

function tells(what: string): void {
  console.log(`    (the adversary ${what})`)
}

export async function attacks(shop: string): Promise<void> {
  chapter("6. What the adversary tries")
  refusedStart(shop, "an argument that the measured manifest does not allow", /process.args/, {
    args: "--debug",
  })
  refusedStart(shop, "a variable of the environment", /process.env/, {
    options: "-e PYTHONPATH=/data",
  })
  refusedStart(shop, "a mount over the code", /mounts: wanted/, { options: `-v ${work}:/usr/lib` })
  oneByteOfImage(shop)
  await volumes(shop)
  const other = loadImage("changed")
  refusedStart(other, "another MrEnclave: it gets neither keys nor volume", /measurements/)
  must("sh -c '! mount | grep coffer-demo | grep -v /podman/'", { show: false })
  show("nothing is left mounted", true)
}

/** Flips one byte of a file in podman's storage, starts, and flips it back. */
function withByteFlipped(path: string, offset: number, check: () => void): void {
  flipByte(path, offset)
  check()
  flipByte(path, offset)
}

function oneByteOfImage(shop: string): void {
  const [sealed = ""] = storedFiles("coffer/service")
  const at = readFileSync(sealed).indexOf("A small web shop")
  tells("flips one byte of shop.py, in podman's storage")
  withByteFlipped(sealed, at, () => refusedStart(shop, "one byte of a code file", /coffer/))
  const [model = ""] = storedFiles("coffer/regions/*").toSorted(
    (a, b) => statSync(b).size - statSync(a).size,
  )
  tells("flips one byte of the encrypted model")
  withByteFlipped(model, Math.floor(statSync(model).size / 2), () =>
    refusedStart(shop, "one byte of the model", /Input\/output error|store|region/),
  )
}

async function volumes(shop: string): Promise<void> {
  const newer = join(work, "orders-newer")
  renameSync(data, newer)
  tells("puts the volume of before the restart back")
  cpSync(join(work, "orders-older"), data, { recursive: true })
  refusedStart(shop, "an older volume: the CAS knows the newest state", /older/)
  rmSync(data, { recursive: true })
  mkdirSync(data)
  tells("empties the volume's directory")
  refusedStart(shop, "an emptied volume, which is not silently begun anew", /one of three/)
  rmSync(data, { recursive: true })
  cpSync(newer, data, { recursive: true })
  tells("flips one bit in every 4 KiB of the volume")
  const files = must(`find ${data} -type f -size +4k`, { show: false }).split("\n")
  for (const file of files)
    for (let at = 2048; at < statSync(file).size; at += 4096) flipByte(file, at)
  await refusedRead(shop)
  rmSync(data, { recursive: true })
  renameSync(newer, data)
}
