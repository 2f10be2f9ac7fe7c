import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { tarSourceOfFile, treeFromTar } from "../../src/tar/index.ts"
import { directorySource, treeDigest } from "../../src/tree/index.ts"
import { coffer } from "../support/cli.ts"
import { debianRootfs, lacksDebian } from "../support/debian.ts"

// As debian-rootfs.soak.ts, by our command line, with the things that Debian's smallest system does not have, and sealed.

function tool(...[command = "", ...args]: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  })
  assert.equal(status, 0, `${command} ${args.join(" ")}: ${stdout}${stderr}`)
  return stdout + stderr
}

async function run(...argv: readonly string[]): Promise<string> {
  const { code, out, err } = await coffer(...argv)
  assert.equal(code, 0, `${argv.join(" ")}: ${err}`)
  return out.join("\n")
}

class Place {
  readonly folder = mkdtempSync(join(tmpdir(), "coffer-debian-"))

  constructor(t: TestContext) {
    t.after(() => rmSync(this.folder, { recursive: true, force: true }))
  }

  at(name: string): string {
    return join(this.folder, name)
  }

  directory(name: string): string {
    mkdirSync(this.at(name))
    return this.at(name)
  }

  sha256(name: string): string {
    return tool("sha256sum", this.at(name)).slice(0, 64)
  }
}

/** What minbase does not have, put into the extracted tree: capabilities, ACLs, xattrs, holes, hard links, a fifo. */
function addRareThings(root: string): void {
  const rare = join(root, "srv/rare")
  mkdirSync(rare)
  writeFileSync(join(rare, "file"), "text")
  tool("setcap", "cap_net_bind_service+ep", join(rare, "file"))
  tool("setfacl", "-m", "u:1234:r", join(rare, "file"))
  tool("setfacl", "-d", "-m", "g:77:rx", rare)
  tool("setfattr", "-n", "user.binary", "-v", "0x00ff0a", join(rare, "file"))
  tool("truncate", "-s", "3M", join(rare, "holes"))
  tool("ln", join(rare, "file"), join(rare, "link"))
  tool("mkfifo", join(rare, "fifo"))
}

for (const [name, program] of [
  ["python3", "python3"],
  ["nodejs", "node"],
] as const) {
  test(`Debian with ${name}`, { skip: lacksDebian(), timeout: 600_000 }, async (t) => {
    const place = new Place(t)
    const root = place.directory("root")
    tool(
      "tar",
      "--xattrs",
      "--xattrs-include=*",
      "--numeric-owner",
      "-xpf",
      debianRootfs(name),
      "-C",
      root,
    )
    addRareThings(root)
    const tar = place.at("root.tar")
    const how = ["--format=posix", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"]
    tool("tar", ...how, "--sort=inode", "-cf", tar, "-C", root, ".")

    await t.test("directory and tar, two runs: one image", async () => {
      await run("binfs", "create", root, place.at("a.img"))
      await run("binfs", "create", root, place.at("b.img"))
      await run("binfs", "create", tar, place.at("c.img"))
      assert.equal(place.sha256("b.img"), place.sha256("a.img"))
      assert.equal(place.sha256("c.img"), place.sha256("a.img"))
    })

    await t.test("the kernel and fsck.erofs see the same tree", () => {
      const mount = place.directory("mount")
      const want = treeDigest(directorySource(root))
      tool("mount", "-t", "erofs", "-o", "ro", place.at("a.img"), mount)
      try {
        assert.equal(treeDigest(directorySource(mount)), want)
      } finally {
        tool("umount", mount)
      }
      const fd = openSync(tar, "r")
      assert.equal(treeDigest(treeFromTar(tarSourceOfFile(fd))), want)
      closeSync(fd)
      tool("fsck.erofs", `--extract=${place.at("extracted")}`, place.at("a.img"))
      tool(
        "diff",
        "-r",
        "--no-dereference",
        "--exclude=dev",
        "--exclude=fifo",
        root,
        place.at("extracted"),
      )
    })

    await t.test(
      "sealed: measured as sha256sum does, read by binutils, and closed without Coffer",
      async () => {
        writeFileSync(place.at("c.yaml"), `version: 1\nservice: { argv: [${program}] }\n`)
        await run("seal", tar, place.at("sealed"), "-f", place.at("c.yaml"))
        const mrEnclave = await run("measure", place.at("sealed"), "--sgxs", place.at("sgxs"))
        assert.equal(place.sha256("sgxs"), mrEnclave)
        assert.doesNotMatch(tool("readelf", "-aW", place.at("sealed")), /[Ww]arning/)
        tool(
          "objcopy",
          `--dump-section=.coffer.binfs=${place.at("d.img")}`,
          place.at("sealed"),
          "/dev/null",
        )
        tool("fsck.erofs", place.at("d.img"))
        const { status, stderr } = spawnSync(place.at("sealed"), [], { encoding: "utf8" })
        assert.equal(status, 126)
        assert.match(stderr, new RegExp(`MrEnclave ${mrEnclave}`))
      },
    )
  })
}
