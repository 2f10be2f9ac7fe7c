import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { coffer } from "../support/cli.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-sealed-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string) => join(folder, name)

mkdirSync(at("root/bin"), { recursive: true })
mkdirSync(at("root/etc"))
writeFileSync(at("root/bin/hello"), readFileSync("/bin/true"))
chmodSync(at("root/bin/hello"), 0o755)
symlinkSync("hello", at("root/bin/hi"))
writeFileSync(at("root/etc/passwd"), "root:x:0:0:::\nweb:x:33:34:::\n")
writeFileSync(at("root/etc/data"), Buffer.alloc(20_000, "data"))
for (const name of ["root", "root/bin", "root/etc", "root/bin/hello", "root/etc/data"])
  utimesSync(at(name), 1_700_000_000, 1_700_000_000)
writeFileSync(
  at("coffer.yaml"),
  `version: 1
name: demo
service: { argv: [hi, "1"], user: web }
env: { set: { PATH: /bin }, allow: [TZ] }
regions:
  - { path: /data, protection: encrypted, lifetime: persistent }
  - { path: /etc/resolv.conf, protection: none, source: host }
`,
)

function tool(name: string, ...args: string[]) {
  const run = spawnSync(name, args, { encoding: "utf8", maxBuffer: 1 << 26 })
  return { missing: run.error !== undefined, ...run }
}

function lacks(name: string): string | false {
  return tool(name, "--version").missing ? `${name} is not installed` : false
}

async function sealed(out: string, arch: string): Promise<string> {
  const run = await coffer("seal", at("root"), at(out), "-f", at("coffer.yaml"), "--arch", arch)
  assert.equal(run.code, 0, run.err)
  return at(out)
}

test("seal, measure, sign, inspect, and sha256sum of the record stream", async () => {
  const file = await sealed("one", "x86-64")
  assert.equal((await coffer("keygen", "--sign", at("key.pem"))).code, 0)
  const [mrEnclave = ""] = (await coffer("measure", file, "--sgxs", at("one.sgxs"))).out
  assert.match(mrEnclave, /^[0-9a-f]{64}$/)
  assert.ok(tool("sha256sum", at("one.sgxs")).stdout.startsWith(`${mrEnclave} `))
  assert.deepEqual((await coffer("measure", at("one.sgxs"))).out, [mrEnclave])
  const signed = await coffer("sign", file, "--key", at("key.pem"), "--isv-svn", "3", "--json")
  assert.equal(signed.code, 0, signed.err)
  const claims = JSON.parse(signed.out.join("")) as Record<string, unknown>
  assert.equal(claims["mrEnclave"], mrEnclave)
  assert.equal(claims["date"], "19700101")
  const first = readFileSync(file)
  assert.equal((await coffer("sign", file, "--key", at("key.pem"), "--isv-svn", "3")).code, 0)
  assert.ok(first.equals(readFileSync(file)), "signing twice gives other bytes")
  const text = (await coffer("inspect", file)).out
  assert.equal(text[0], "Not protected:")
  assert.match(text.join("\n"), /SVN 3.*\n.*"hi" "1" as 33:34 in \//)
  const report = JSON.parse((await coffer("inspect", file, "--json")).out.join("")) as {
    readonly files: readonly { readonly path: string; readonly class: string }[]
    readonly unprotected: readonly unknown[]
  }
  assert.equal(report.unprotected.length, 1)
  assert.ok(report.files.some(({ path }) => path === "/etc/data"))
})

test("the same files from a directory, a tar and a binary filesystem give one binary", async () => {
  const file = await sealed("same", "x86-64")
  const tar = tool(
    "tar",
    "-C",
    at("root"),
    "--format=pax",
    "--sort=name",
    "-czf",
    at("root.tgz"),
    ".",
  )
  assert.equal(tar.status, 0, tar.stderr)
  const image = at("image")
  assert.equal(
    tool("objcopy", "--dump-section", `.coffer.binfs=${image}`, file, at("copy")).status,
    0,
  )
  for (const src of [at("root.tgz"), image, file]) {
    const run = await coffer("seal", src, at("again"), "-f", at("coffer.yaml"))
    assert.equal(run.code, 0, run.err)
    assert.ok(readFileSync(file).equals(readFileSync(at("again"))), src)
  }
})

test("what a binary is called is not measured", async () => {
  writeFileSync(at("nameless.yaml"), "version: 1\nservice: { argv: [/bin/hello] }\n")
  for (const out of ["nameless-1", "nameless-2.sealed"]) {
    const run = await coffer("seal", at("root"), at(out), "-f", at("nameless.yaml"))
    assert.equal(run.code, 0, run.err)
  }
  assert.ok(readFileSync(at("nameless-1")).equals(readFileSync(at("nameless-2.sealed"))))
  const report = (await coffer("inspect", at("nameless-1"), "--json")).out.join("")
  assert.match(report, /"name":"hello"/)
})

test("names of any bytes are typed as they are shown, and proved", async () => {
  const any = Buffer.from(at("any"))
  mkdirSync(any)
  const names = [[0xff, 0x0a], [...Buffer.from("a\\xff")], [...Buffer.from("a\\b")]]
  for (const [i, name] of names.entries())
    writeFileSync(Buffer.concat([any, Buffer.from("/"), Buffer.from(name)]), `content ${i}`)
  writeFileSync(at("any/run"), readFileSync("/bin/true"))
  chmodSync(at("any/run"), 0o755)
  writeFileSync(at("any.yaml"), "version: 1\nservice: { argv: [/run] }\n")
  const sealing = await coffer("seal", at("any"), at("any.sealed"), "-f", at("any.yaml"))
  assert.equal(sealing.code, 0, sealing.err)
  const list = (await coffer("binfs", "ls", at("any.sealed"))).out.map((line) =>
    line.split(" ").at(-1),
  )
  for (const [typed, shown, content] of [
    ["/\\xff\\x0a", "\\xff\\x0a", 0],
    ["/a\\\\xff", "a\\\\xff", 1],
    ["a\\xff", "a\\\\xff", 1],
    ["a\\b", "a\\\\b", 2],
  ] as const) {
    assert.ok(list.includes(shown), shown)
    assert.deepEqual((await coffer("binfs", "cat", at("any.sealed"), typed)).out, [
      `content ${content}`,
    ])
    const proof = await coffer("inspect", at("any.sealed"), "--prove", typed)
    assert.equal(proof.code, 0, proof.err)
    writeFileSync(at("any.json"), proof.out.join(""))
    const check = await coffer("inspect", "--check-proof", at("any.json"))
    assert.ok(check.out.includes(`holds /${shown}:`), check.err)
  }
})

test("readelf has no warning, in either architecture, signed or not", {
  skip: lacks("readelf"),
}, async () => {
  await coffer("keygen", "--sign", at("elf.pem"))
  for (const arch of ["x86-64", "aarch64"]) {
    const file = await sealed(`elf-${arch}`, arch)
    for (const sign of [false, true]) {
      if (sign) await coffer("sign", file, "--key", at("elf.pem"))
      const { stdout, stderr } = tool("readelf", "-aW", file)
      assert.equal(stderr, "", arch)
      assert.doesNotMatch(stdout, /warning|error/i)
      assert.match(stdout, /\.coffer\.verity/)
      assert.equal(stdout.includes(".coffer.sigstruct"), sign)
    }
  }
})

test("objcopy gives back an image that fsck.erofs and veritysetup accept", {
  skip: lacks("veritysetup"),
}, async () => {
  const file = await sealed("tools", "x86-64")
  const dump = (name: string) => {
    const run = tool("objcopy", "--dump-section", `.coffer.${name}=${at(name)}`, file, at("copy"))
    assert.equal(run.status, 0, run.stderr)
    return readFileSync(at(name))
  }
  const image = dump("binfs")
  dump("verity")
  const manifest = JSON.parse(dump("manifest").toString()) as { verity: { rootHash: string } }
  assert.equal(tool("fsck.erofs", at("binfs")).status, 0)
  const verify = tool(
    "veritysetup",
    "verify",
    "--no-superblock",
    "--salt=-",
    `--data-blocks=${image.length / 4096}`,
    "--hash=sha256",
    at("binfs"),
    at("verity"),
    manifest.verity.rootHash,
  )
  assert.equal(verify.status, 0, verify.stderr)
})

test("run by hand it prints its sentence and exits 126", async () => {
  const file = await sealed("run", "x86-64")
  const [mrEnclave = ""] = (await coffer("measure", file)).out
  const sentence = `sealed by Coffer, MrEnclave ${mrEnclave}: run it with coffer\n`
  const own = process.arch === "x64" ? tool(file) : tool("qemu-x86_64-static", file)
  assert.deepEqual([own.status, own.stderr, own.stdout], [126, sentence, ""])
})

test("and on aarch64", { skip: lacks("qemu-aarch64-static") }, async () => {
  const file = await sealed("arm", "aarch64")
  const [mrEnclave = ""] = (await coffer("measure", file)).out
  const run = tool("qemu-aarch64-static", file)
  assert.deepEqual(
    [run.status, run.stderr],
    [126, `sealed by Coffer, MrEnclave ${mrEnclave}: run it with coffer\n`],
  )
})

test("diff names files, fields and signature; --expect-same exits 3", async () => {
  const a = await sealed("a", "x86-64")
  writeFileSync(at("root/etc/data"), Buffer.alloc(20_000, "DATA"))
  utimesSync(at("root/etc/data"), 1_700_000_000, 1_700_000_000)
  const b = await sealed("b", "x86-64")
  await coffer("keygen", "--sign", at("diff.pem"))
  await coffer("sign", b, "--key", at("diff.pem"))
  const run = await coffer("diff", a, b)
  assert.equal(run.code, 0)
  assert.match(run.out.join("\n"), /changed {2}\/etc\/data: content\n/)
  assert.match(run.out.join("\n"), /verity\.rootHash/)
  assert.match(run.out.join("\n"), /signed: false -> true/)
  assert.equal((await coffer("diff", a, b, "--expect-same")).code, 3)
  assert.equal((await coffer("diff", a, a, "--expect-same")).code, 0)
})

test("a proof is checked without the binary", async () => {
  const file = await sealed("proved", "x86-64")
  const [mrEnclave = ""] = (await coffer("measure", file)).out
  for (const path of ["/", "/bin", "/bin/hi", "/etc/data"]) {
    const proof = await coffer("inspect", file, "--prove", path)
    writeFileSync(at("proof.json"), proof.out.join(""))
    const check = await coffer(
      "inspect",
      "--check-proof",
      at("proof.json"),
      "--mrenclave",
      mrEnclave,
    )
    assert.equal(check.code, 0, check.err)
    assert.ok(check.out.includes(`holds ${path}:`))
  }
  const other = "00".repeat(32)
  assert.equal(
    (await coffer("inspect", "--check-proof", at("proof.json"), "--mrenclave", other)).code,
    3,
  )
  assert.equal(
    (await coffer("inspect", "--check-proof", at("proof.json"), "--mrenclave", "0")).code,
    2,
  )
  assert.equal((await coffer("inspect", file, "--prove", "/none")).code, 6)
})

test("wrong use has the right exit code", async () => {
  const file = await sealed("wrong", "x86-64")
  writeFileSync(at("text"), "text")
  const damaged = readFileSync(file)
  damaged[0x4010] = (damaged[0x4010] ?? 0) ^ 1
  writeFileSync(at("damaged"), damaged)
  writeFileSync(at("bad.yaml"), "version: 1\nservice: { argv: [/no/such] }\n")
  for (const [code, ...argv] of [
    [2, "measure", at("text")],
    [6, "measure", at("none")],
    [3, "measure", at("damaged")],
    [3, "inspect", at("damaged")],
    [3, "sign", at("damaged"), "--key", at("key.pem")],
    [2, "inspect"],
    [2, "keygen"],
    [2, "sign", file, "--key", at("text")],
    [2, "sign", file, "--key", at("key.pem"), "--date", "20261301"],
    [2, "sign", file, "--key", at("key.pem"), "--isv-svn", "65536"],
    [2, "seal", at("root"), at("x"), "-f", at("bad.yaml")],
    [6, "seal", at("nothing"), at("x"), "-f", at("coffer.yaml")],
    [2, "keygen", "--volume", at("text")],
    [2, "sign", at("text"), "--key", at("key.pem")],
    [2, "sign", "/dev/null", "--key", at("key.pem")],
    [2, "seal", at("root"), at("root"), "-f", at("coffer.yaml")],
    [2, "seal", at("root"), "/dev/null", "-f", at("coffer.yaml")],
    [2, "seal", at("text"), at("x"), "-f", at("coffer.yaml")],
  ] as const)
    assert.equal((await coffer(...argv)).code, code, argv.join(" "))
})
