import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import type { Io } from "./io.ts"
import { main } from "./main.ts"
import { barLine, formatSize, progressBar } from "./progress.ts"

interface Captured extends Io {
  readonly out: string[]
  readonly err: string[]
}

function captured(terminal = false): Captured {
  const out: string[] = []
  const err: string[] = []
  return {
    out,
    err,
    env: {},
    terminal,
    columns: 80,
    exitCode: 0,
    print: (line) => out.push(line),
    write: (bytes) => out.push(Buffer.from(bytes).toString("latin1")),
    warn: (line) => err.push(line),
    warnRaw: (text) => err.push(text),
  }
}

test("help names every command and every exit code", async () => {
  const io = captured()
  assert.equal(await main(["--help"], io), 0)
  const text = io.out.join("\n")
  for (const word of ["completion", "Exit codes", "rollback", "policy"])
    assert.ok(text.includes(word), word)
})

test("an unknown option or command is a usage error, said on stderr", async () => {
  for (const argv of [
    ["--frob"],
    ["frobnicate"],
    ["completion", "tcsh"],
    ["completion", "bash", "more"],
  ]) {
    const io = captured()
    assert.equal(await main(argv, io), 2, argv.join(" "))
    assert.equal(io.out.length, 0)
    assert.match(io.err.join("\n"), /^coffer: /)
  }
})

test("completion in bash offers subcommands, choices, files, and options after a dash", async () => {
  const io = captured()
  await main(["completion", "bash"], io)
  const script = `${io.out.join("\n")}
show() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _coffer; echo "\${COMPREPLY[*]}"; }
show coffer binfs ''; show coffer seal a b --arch ''; show coffer binfs create -; show coffer binfs ls /etc/host
show coffer completion ''; show coffer keygen ''; show coffer binfs verify /etc/hostn --r`
  const { stdout } = spawnSync("bash", ["-c", script], { encoding: "utf8" })
  const [binfs, arch, create, files, shells, keygen, verify] = stdout.split("\n")
  assert.equal(binfs, "create ls cat extract verify mount")
  assert.equal(arch, "x86-64 aarch64")
  assert.equal(create, "--json --help")
  assert.match(files ?? "", /\/etc\/hostname/)
  assert.equal(shells, "bash zsh fish")
  assert.match(keygen ?? "", /^--sign --volume/)
  assert.equal(verify, "--root-hash")
})

test("completion scripts hold the commands of the program", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const io = captured()
    assert.equal(await main(["completion", shell], io), 0)
    assert.match(io.out.join("\n"), /completion/)
  }
})

test("a progress bar is drawn on a terminal only, and wiped", () => {
  const silent = captured()
  const none = progressBar(silent, "reading")
  none.update(1, 2)
  none.end()
  assert.equal(silent.err.length, 0)
  const io = captured(true)
  const bar = progressBar(io, "reading")
  bar.update(2, 2)
  bar.end()
  assert.match(io.err.join(""), /reading {2}\[#+\] +100 %.*\r\x1b\[K$/)
})

test("bar lines fit the terminal, sizes are binary", () => {
  assert.equal(formatSize(1536), "1.5 KiB")
  assert.equal(formatSize(12), "12 B")
  for (const columns of [20, 40, 80, 200]) {
    const line = barLine("title", 1 << 20, 1 << 21, 2, columns)
    assert.ok(line.length <= Math.max(columns, 60), line)
  }
  assert.match(barLine("t", 5, undefined, 0, 80), /5 B/)
})
