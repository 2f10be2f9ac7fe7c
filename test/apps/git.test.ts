/** git on a volume: a repository with a few hundred commits is cloned, worked on, packed and checked. */
import assert from "node:assert/strict"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { lacks, run } from "../support/run.ts"
import { cannotServe, withDaemon } from "../support/volume-daemon.ts"

/** Commits that each change a few of some hundred files, as `git fast-import` reads them. */
function history(commits: number): string {
  const lines: string[] = []
  for (let i = 1; i <= commits; i += 1) {
    const message = `commit ${i}`
    lines.push("commit refs/heads/main", `committer t <t@example.org> ${1_700_000_000 + i} +0000`)
    lines.push(`data ${message.length}`, message)
    for (let k = 0; k < 4; k += 1) {
      const file = `d${(i * 7 + k) % 20}/f${(i * 13 + k * 5) % 300}.txt`
      const text = `line of ${file}\n`.repeat(1 + ((i * k) % 200)) + `${i}.${k}`
      lines.push(`M 100644 inline ${file}`, `data ${text.length}`, text)
    }
  }
  return `${lines.join("\n")}\n`
}

const env = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  GIT_AUTHOR_NAME: "t",
  GIT_AUTHOR_EMAIL: "t@example.org",
  GIT_COMMITTER_NAME: "t",
  GIT_COMMITTER_EMAIL: "t@example.org",
}

test(
  "git: clone, commits, branches, gc, and fsck after a new mount",
  {
    skip: cannotServe() || lacks("git"),
  },
  () =>
    withDaemon({}, async (daemon) => {
      const git = (cwd: string, ...args: readonly string[]) => run(["git", ...args], { cwd, env })
      const origin = join(daemon.mount, "origin.git")
      const clone = join(daemon.mount, "clone")
      git(daemon.mount, "init", "-q", "--bare", "-b", "main", origin)
      run(["git", "fast-import", "--quiet"], { cwd: origin, env, input: history(300) })
      git(daemon.mount, "clone", "-q", "--no-local", origin, clone)
      for (let i = 0; i < 10; i += 1) {
        git(clone, "checkout", "-q", "-b", `topic-${i}`, "main")
        writeFileSync(join(clone, `new-${i}.txt`), "text\n".repeat(1000 * i))
        git(clone, "add", "-A")
        git(clone, "commit", "-q", "-m", `topic ${i}`)
        git(clone, "checkout", "-q", "main")
        git(clone, "merge", "-q", "--no-ff", "-m", `merge ${i}`, `topic-${i}`)
      }
      git(clone, "mv", "new-3.txt", "moved.txt")
      git(clone, "commit", "-q", "-am", "moved")
      git(clone, "push", "-q", "origin", "--all")
      assert.equal(git(clone, "status", "--porcelain"), "")
      git(clone, "gc", "-q", "--aggressive", "--prune=now")
      const head = git(clone, "rev-parse", "HEAD")
      await daemon.stop()
      await daemon.start()
      for (const repository of [origin, clone]) git(repository, "fsck", "--full", "--strict")
      assert.equal(git(clone, "rev-parse", "HEAD"), head)
      assert.equal(git(origin, "rev-parse", "main"), head)
      assert.equal(git(clone, "rev-list", "--count", "HEAD").trim(), "321")
      assert.equal(git(clone, "status", "--porcelain"), "")
      assert.ok(existsSync(join(clone, "moved.txt")))
      assert.equal(daemon.errors, "")
    }),
)
