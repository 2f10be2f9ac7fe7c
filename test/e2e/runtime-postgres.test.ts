/** PostgreSQL as its image starts it: an entrypoint script that prepares an empty data directory, on an encrypted volume under podman. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { lacksRun } from "../support/coffer-run.ts"
import { debianRootfs, lacksDebian } from "../support/debian.ts"
import { layoutOfTars } from "../support/debian-image.ts"
import { lacksPodman, Podman } from "../support/podman.ts"

const root = new URL("../..", import.meta.url).pathname
const bin = "/usr/lib/postgresql/15/bin"
const data = "/var/lib/postgresql/data"
const name = "coffer-postgres"
const image = "localhost/postgres:1"

// What the official image's docker-entrypoint.sh does: as root give the directory away, then again as the server's user; the first time
// make a cluster and load it through a server of its own; at last become the server.
const entrypoint = `#!/bin/bash
set -Eeo pipefail
if [ "\${1:0:1}" = '-' ]; then set -- postgres "$@"; fi
if [ "$1" = postgres ] && [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  find "$PGDATA" /var/run/postgresql \\! -user postgres -exec chown postgres '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$BASH_SOURCE" "$@"
fi
if [ "$1" = postgres ]; then
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth=trust --pwfile=<(echo secret) -D "$PGDATA" >/dev/null
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
    psql -v ON_ERROR_STOP=1 -c 'create table visit (at timestamptz default now())' >/dev/null
    pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
    echo 'PostgreSQL init process complete; ready for start up.'
  else
    echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
  fi
fi
exec "$@"
`
const visit = `#!/bin/sh
exec psql -qAt -v ON_ERROR_STOP=1 -c 'insert into visit default values' -c 'select count(*) from visit'
`
const yaml = `version: 1
name: postgres
service:
  exec: [[/usr/local/bin/visit], [pg_isready, -q]]
regions:
  - { path: ${data}, protection: encrypted, lifetime: persistent, volume: db }
  - { path: /var/run/postgresql, protection: encrypted, lifetime: ephemeral, size: 1MiB }
  - { path: /tmp, protection: encrypted, lifetime: ephemeral, size: 64MiB }
`

let folder = ""
let engine: Podman

function prepare(): void {
  const place = join(folder, "layer", "usr", "local", "bin")
  mkdirSync(place, { recursive: true })
  writeFileSync(join(place, "docker-entrypoint.sh"), entrypoint, { mode: 0o755 })
  writeFileSync(join(place, "visit"), visit, { mode: 0o755 })
  writeFileSync(join(folder, "coffer.yaml"), yaml)
  const tar = join(folder, "layer.tar")
  must("tar", "-cf", tar, "--owner=0", "--group=0", "-C", join(folder, "layer"), "usr")
  const source = layoutOfTars([debianRootfs("python3-postgresql"), tar], join(folder, "source"), {
    Entrypoint: ["/usr/local/bin/docker-entrypoint.sh"],
    Cmd: ["postgres"],
    Env: [`PATH=${bin}:/usr/local/bin:/usr/bin:/bin`, `PGDATA=${data}`, "PGUSER=postgres"],
    StopSignal: "SIGINT",
    Volumes: { [data]: {} },
  })
  const to = `oci:${folder}/protected:1`
  must(join(root, "coffer"), "protect", source, to, "-f", join(folder, "coffer.yaml"))
  engine = new Podman(folder, {
    COFFER_FROM_SOURCE: "1",
    COFFER_INSECURE_CAS_DIR: join(folder, "cas"),
  })
  engine.load(to, image)
  rmSync(join(folder, "source"), { recursive: true })
  rmSync(join(folder, "protected"), { recursive: true })
  mkdirSync(join(folder, "store"))
}

function must(program: string, ...words: readonly string[]): void {
  const env = { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: join(folder, "xdg") }
  const { status, stderr } = spawnSync(program, words, { encoding: "utf8", env })
  assert.equal(status, 0, stderr)
}

async function start(): Promise<void> {
  engine.call("rm", "-f", name)
  const volume = ["-v", `${folder}/store:${data}`]
  const { status, stderr } = engine.call(
    "run",
    "-d",
    "--name",
    name,
    "--shm-size=64m",
    ...volume,
    image,
  )
  assert.equal(status, 0, stderr)
  for (let i = 0; i < 300; i += 1) {
    // The server that loads the first data answers too.
    const up = /(init process complete|Skipping init)[^]*ready to accept connections/.test(logs())
    if (up && engine.call("exec", name, "pg_isready", "-q").status === 0) return
    await sleep(200)
  }
  assert.fail(logs())
}

function logs(): string {
  const { stdout, stderr } = engine.call("logs", name)
  return stdout + stderr
}

function visits(): number {
  const { status, stdout, stderr } = engine.call("exec", name, "/usr/local/bin/visit")
  assert.equal(status, 0, stderr)
  return Number(stdout)
}

void describe("PostgreSQL's entrypoint in an enclave", {
  skip: lacksDebian() || lacksRun() || lacksPodman(),
}, () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "coffer-postgres-"))
    prepare()
  })
  after(() => {
    engine.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test("the first start makes the cluster; stop is a clean shutdown within the grace period", async () => {
    await start()
    assert.match(logs(), /init process complete/)
    assert.equal(visits(), 1)
    assert.equal(visits(), 2)
    const begin = Date.now()
    engine.call("stop", "-t", "30", name)
    assert.ok(Date.now() - begin < 30_000)
    assert.equal(engine.call("inspect", "-f", "{{.State.ExitCode}}", name).stdout, "0\n")
    assert.match(logs(), /database system is shut down/)
    engine.remove(name)
  })

  test("the second finds it; after a kill it recovers, and nothing committed is lost", async () => {
    await start()
    assert.match(logs(), /Skipping initialization/)
    assert.equal(visits(), 3)
    assert.equal(engine.call("kill", "-s", "KILL", name).status, 0)
    engine.remove(name)
    await start()
    assert.match(logs(), /automatic recovery in progress|was not properly shut down/)
    assert.equal(visits(), 4)
    engine.remove(name)
  })

  test("on the disk there is nothing to read", () => {
    const found = spawnSync("grep", ["-rlaE", "visit|PG_VERSION|pg_wal", join(folder, "store")])
    assert.equal(String(found.stdout), "")
  })
})
