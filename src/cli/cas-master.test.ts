import assert from "node:assert/strict"
import { cpSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { after, test } from "node:test"
import { scratch } from "../../test/support/cas.ts"
import { noSwtpm, SoftwareTpm } from "../../test/support/swtpm.ts"
import { Tpm } from "../attest/index.ts"
import { openCas } from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import { bindToTpm, masterKey } from "./cas-master.ts"

const place = scratch()
after(place.remove)

function code(wanted: string): (error: unknown) => boolean {
  return (error) => error instanceof CofferError && error.code === wanted
}

test("a TPM seals the master key and notices an older database", { skip: noSwtpm }, async () => {
  const machine = await new SoftwareTpm().start()
  try {
    const options = { tpm: machine.address, sealTo: "sha256:11" }
    const file = join(place.dir, "master.key")
    const master = await masterKey(file, options, true)
    assert.ok(!readFileSync(file, "utf8").includes(Buffer.from(master).toString("hex")))
    assert.deepEqual(await masterKey(file, options, false), master)
    await assert.rejects(masterKey(file, {}, false), code("usage"))
    const store = join(place.dir, "store")
    const open = (dir: string, create = false) => openCas({ store: dir, master, create })
    const first = await open(store, true)
    await assert.rejects(bindToTpm(first, options, false), code("rollback"))
    await bindToTpm(first, options, true)
    await first.close()
    const copy = join(place.dir, "copy")
    cpSync(store, copy, { recursive: true })
    const second = await open(store)
    await bindToTpm(second, options, false)
    await bindToTpm(second, options, false)
    await second.close()
    const old = await open(copy)
    await assert.rejects(bindToTpm(old, options, false), code("rollback"))
    await old.close()
    const tpm = await Tpm.open(machine.address)
    await tpm.extendPcr(11, "sha256", new Uint8Array(32).fill(1))
    await tpm.close()
    await assert.rejects(masterKey(file, options, false), code("integrity"))
  } finally {
    await machine.stop()
  }
})
