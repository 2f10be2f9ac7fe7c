import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { lacksImageTools, runPage, shellBlocks } from "../support/page.ts"

// Every command of the tutorials, as it stands there, in one shell and an empty directory.

const how = { skip: lacksImageTools(), timeout: 500_000 }

test("the tutorial on a Python service", how, (t) => {
  const { status, stdout, stderr } = runPage(t, "docs/tutorial-python.md")
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  const mrEnclave = /MrEnclave {2}([0-9a-f]{64})/.exec(stdout)?.[1] ?? "none"
  assert.ok(stdout.includes(`${mrEnclave}  shop.sgxs`), "sha256sum of the stream is MrEnclave")
  assert.match(stdout, /visit number 1\nvisit number 2\n/)
  assert.match(stderr, /sealed by Coffer, MrEnclave/)
  assert.match(stdout, /status 126/)
  // The older volume, then the other code.
  assert.match(stdout, /visit number 3\nrefused: status 125/)
  assert.match(stdout, /changed {2}\/app\/app.py: [^\n]*content[\s\S]*refused: status 125/)
  assert.match(stderr, /measurements: wanted [^\n]*\n {2}hint: [^\n]*coffer run --accept IMAGE/)
  assert.doesNotMatch(stdout, /I send your data/)
  assert.match(stdout, /refused: status 3/)
  assert.match(stdout, /nobody else reads this/)
})

test("the tutorial on a Node.js service", how, (t) => {
  const { status, stdout, stderr } = runPage(t, "docs/tutorial-node.md")
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /nothing yet[^]*who are you\?[^]*nothing yet[^]*buy milk/)
  assert.match(stderr, /process\.env: PORT: wanted a value that matches/)
  assert.match(stderr, /process\.args: wanted no arguments/)
  assert.match(stderr, /wanted the volume that CAS/)
  assert.equal(stdout.match(/refused: status 125/g)?.length, 3)
  assert.match(stderr, /exec: wanted a command that the measured manifest lists/)
  assert.match(stdout, /no exec/)
})

/** The image that the README takes for granted. */
const shop = `
mmdebstrap --quiet --variant=minbase --include=python3 bookworm base.tar
podman import --quiet base.tar localhost/debian-python
printf 'FROM localhost/debian-python\\nVOLUME /data\\nENTRYPOINT ["/usr/bin/python3", "-c", "print(6 * 7)"]\\n' > Containerfile
podman build --quiet -t localhost/shop:1 .
`

test("what the README says in short", how, (t) => {
  const { status, stdout, stderr } = runPage(t, "README.md", (folder) => {
    const [, short = ""] =
      /^## In short\n([^]*?)^## /m.exec(readFileSync("README.md", "utf8")) ?? []
    assert.ok(shellBlocks("README.md").includes("coffer run"))
    const [, block = ""] = /```sh\n([^]*?)```/.exec(short) ?? []
    const moved = block.replaceAll("/srv/", `${folder}/work/`)
    const engine = moved.replace(
      '"$PWD/coffer-oci" run',
      '"$(command -v coffer-oci)" run --network host',
    )
    return `${shop}mkdir engine-shop\n${engine.replace("work/shop:/data", "work/engine-shop:/data")}`
  })
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.equal(stdout.match(/^42$/gm)?.length, 2, `${stdout}\n${stderr}`)
})
