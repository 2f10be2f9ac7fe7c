/** Chapter 2: every byte of code is measured, and tools that are not ours agree. */
import { closeSync, copyFileSync, openSync, readSync, writeSync } from "node:fs"
import { join } from "node:path"
import type { ProtectedShop } from "./image.ts"
import { chapter, coffer, must, refused, run, show, work } from "./story.ts"

export function flipByte(path: string, offset: number): void {
  const fd = openSync(path, "r+")
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, offset)
  byte[0] = (byte[0] ?? 0) ^ 1
  writeSync(fd, byte, 0, 1, offset)
  closeSync(fd)
}

interface Inspected {
  readonly manifest: {
    readonly binfs: { readonly offset: number; readonly size: number }
    readonly verity: { readonly offset: number; readonly size: number; readonly rootHash: string }
  }
}

export function codeChapter(shop: ProtectedShop): void {
  chapter("2. The code is measured, and tools that we did not write agree")
  must("umoci raw unpack --image protected:shop unpacked", { show: false })
  const sealed = join(work, "shop.sealed")
  copyFileSync(join(work, "unpacked/coffer/service"), sealed)
  const alone = run("./shop.sealed")
  console.log(`    ${alone.err || alone.out}`)
  show(
    "without Coffer the protected image does not run: it says so and ends with 126",
    alone.status === 126,
  )
  must(`${coffer} measure shop.sealed --sgxs shop.sgxs`)
  const sum = must("sha256sum shop.sgxs")
  show("sha256sum of the SGX record stream is MrEnclave", sum.startsWith(shop.mrEnclave))
  thirdPartyTools(sealed)
  changedByte(sealed)
  proof(shop)
}

function thirdPartyTools(sealed: string): void {
  const { manifest } = JSON.parse(
    must(`${coffer} inspect ${sealed} --json`, { show: false }),
  ) as Inspected
  must(
    "objcopy --dump-section .coffer.binfs=binfs.img --dump-section .coffer.verity=verity.img shop.sealed /dev/null",
  )
  show("fsck.erofs finds the binary filesystem clean", run("fsck.erofs binfs.img").status === 0)
  const { rootHash } = manifest.verity
  const verify = `veritysetup verify --no-superblock --salt - --data-blocks ${manifest.binfs.size / 4096} --hash-offset 0 binfs.img verity.img ${rootHash}`
  show(
    "veritysetup accepts every block with the root hash of the measured manifest",
    run(verify).status === 0,
  )
}

function changedByte(sealed: string): void {
  const changed = join(work, "changed.sealed")
  copyFileSync(sealed, changed)
  const at = Number(
    must(`grep -abo 'A small web shop' ${sealed} | head -1 | cut -d: -f1`, { show: false }),
  )
  flipByte(changed, at)
  refused(`${coffer} binfs verify changed.sealed`, 3, /block/)
  show("one byte of one Python file changed on disk is found, exit code 3", true)
  must(
    "mkdir other && cp -r app other/app && sed -i s/8080/8081/ other/app/shop.py && tar -cf other.tar --sort=name --owner=0 --group=0 --mtime=@0 -C other app",
  )
  must("cp -r image image2 && umoci raw add-layer --image image2:shop other.tar", { show: false })
  must(`${coffer} protect oci:image2:shop oci:changed:shop -f app/coffer.yaml --keys shop.keys`)
  must("umoci raw unpack --image changed:shop unpacked2", { show: false })
  const diff = run(`${coffer} diff shop.sealed unpacked2/coffer/service`)
  console.log(
    diff.out
      .split("\n")
      .slice(0, 6)
      .map((line) => `    ${line}`)
      .join("\n"),
  )
  show(
    "another program gives another MrEnclave, and coffer diff names the file",
    diff.out.includes("/app/shop.py"),
  )
}

function proof({ mrEnclave }: ProtectedShop): void {
  must(`${coffer} inspect shop.sealed --prove /app/shop.py > proof.json`)
  const checked = run(`${coffer} inspect --check-proof proof.json --mrenclave ${mrEnclave}`)
  show(
    "an inclusion proof ties one file to MrEnclave, checked without the binary",
    checked.status === 0,
  )
  refused(
    `${coffer} inspect --check-proof proof.json --mrenclave ${"0".repeat(64)}`,
    3,
    /MrEnclave/i,
  )
}
