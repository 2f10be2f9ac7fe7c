/** Chapter 1: a real Debian image with a Python web service, made here, and a protected image from it. */
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { chapter, coffer, must, run, show, work } from "./story.ts"

const service = join(import.meta.dirname, "service")

/** A model as large as to be worth a theft: 100,000 weights. */
function model(): string {
  const weights = Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 101)
  return JSON.stringify({ base: 100, weights })
}

export interface ProtectedShop {
  readonly mrEnclave: string
}

/** Puts the service into a Debian root filesystem and makes an image of it: the layout `DEMO/image`. */
function buildImage(): void {
  const rootfs = join(work, "rootfs.tar")
  if (!existsSync(rootfs))
    must(`mmdebstrap --quiet --variant=minbase --include=python3 bookworm ${rootfs}`)
  mkdirSync(join(work, "app"))
  cpSync(service, join(work, "app"), { recursive: true })
  writeFileSync(join(work, "app/private/model.json"), model())
  must("umoci init --layout image && umoci new --image image:shop", { show: false })
  must("umoci raw add-layer --image image:shop rootfs.tar", { show: false })
  must(
    "tar -cf app.tar --sort=name --owner=0 --group=0 --mtime=@0 app && umoci raw add-layer --image image:shop app.tar",
    { show: false },
  )
  must(
    "umoci config --image image:shop --config.entrypoint /usr/bin/python3 --config.cmd /app/shop.py --config.workingdir /app --config.exposedports 8080/tcp",
  )
}

interface Protected {
  readonly mrEnclave: string
  readonly digest: string
}

const options = "-f app/coffer.yaml --sign publisher.pem --keys shop.keys --report shop.html --json"

function protect(target: string, owner: string): Protected {
  return JSON.parse(
    must(
      `${coffer} protect oci:image:shop oci:${target}:shop ${options} --policy-out shop.yaml --access-key ${owner}`,
    ),
  ) as Protected
}

export function imageChapter(): ProtectedShop {
  chapter("1. A container image becomes a protected image")
  buildImage()
  must(`${coffer} keygen --sign publisher.pem`)
  const owner = must(`${coffer} keygen --access owner.pem`).split(" ").at(-1) ?? ""
  const first = protect("protected", owner)
  console.log(`    MrEnclave ${first.mrEnclave}`)
  const second = protect("again", owner)
  show(
    "the same image gives the same MrEnclave and the same protected image, bit for bit",
    first.mrEnclave === second.mrEnclave && first.digest === second.digest,
  )
  const readable = run("grep -rqaF 'weight * byte' protected", { show: false }).status === 0
  show("neither the secret algorithm nor its model can be read in the image", !readable)
  const manifest = must("skopeo inspect --raw oci:protected:shop", { show: false })
  show(
    "skopeo reads the protected image, and its annotation has MrEnclave",
    manifest.includes(first.mrEnclave),
  )
  return first
}
