import assert from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { after, test } from "node:test"
import { scratch } from "../../../test/support/cas.ts"
import { startPostgres } from "../../../test/support/postgres.ts"
import type { Backend } from "./backend.ts"
import { openPostgres } from "./postgres.ts"
import { openSqlite } from "./sqlite.ts"

const place = scratch()
const postgres = startPostgres()
after(() => {
  postgres?.stop()
  place.remove()
})

async function put(backend: Backend, key: string, value: Uint8Array | undefined): Promise<void> {
  await backend.commit(() => Promise.resolve([{ table: "volumes", key, value }]))
}

const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString()

/** Every store must pass this. `open` opens the same database again. */
function storeSuite(name: string, open: () => Promise<Backend>, skip: string | false): void {
  test(`${name}: rows come back as they were, in the order of their keys`, { skip }, async () => {
    const backend = await open()
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
    await put(backend, "a/1", bytes)
    await put(backend, "a/10", new Uint8Array())
    await put(backend, "a/2", Buffer.from("two"))
    await put(backend, "b", Buffer.from("b"))
    assert.deepEqual(new Uint8Array((await backend.get("volumes", "a/1")) ?? []), bytes)
    assert.equal((await backend.get("volumes", "a/10"))?.length, 0)
    assert.equal(await backend.get("volumes", "a"), undefined)
    assert.equal(await backend.get("secrets", "a/1"), undefined)
    const keys = async (prefix: string, from: string, limit: number) =>
      (await backend.range("volumes", prefix, from, limit)).map(({ key }) => key)
    assert.deepEqual(await keys("a/", "", 10), ["a/1", "a/10", "a/2"])
    assert.deepEqual(await keys("a/", "a/1", 1), ["a/10"])
    assert.deepEqual(await keys("", "a/2", 10), ["b"])
    assert.deepEqual(await keys("a/1", "", 10), ["a/1", "a/10"])
    assert.deepEqual([await backend.count("volumes"), await backend.count("secrets")], [4, 0])
    await backend.snapshot(async (reader) => {
      assert.equal(text(await reader.get("volumes", "b")), "b")
      await put(backend, "b", Buffer.from("c"))
      assert.equal(text(await reader.get("volumes", "b")), "b")
    })
    assert.equal(text(await backend.get("volumes", "b")), "c")
    await put(backend, "a/2", Buffer.from("zwei"))
    await put(backend, "a/10", undefined)
    assert.equal(text(await backend.get("volumes", "a/2")), "zwei")
    assert.deepEqual(await keys("", "", 10), ["a/1", "a/2", "b"])
    await backend.close()
    await backend.close()
    const again = await open()
    assert.equal(text(await again.get("volumes", "a/2")), "zwei")
    await again.close()
  })

  test(`${name}: a commit is whole or not at all, and sees the one before it`, {
    skip,
  }, async () => {
    const backend = await open()
    await put(backend, "c", Buffer.from("1"))
    const broken = backend.commit(async (reader) => {
      assert.equal(text(await reader.get("volumes", "c")), "1")
      throw new Error("stop")
    })
    await assert.rejects(broken, /stop/)
    await backend.commit(async (reader) => {
      assert.equal(text(await reader.get("volumes", "c")), "1")
      return [
        { table: "volumes", key: "c", value: Buffer.from("2") },
        { table: "log", key: "x", value: Buffer.from("3") },
        { table: "volumes", key: "c", value: Buffer.from("4") },
      ]
    })
    assert.equal(text(await backend.get("volumes", "c")), "4")
    assert.equal(text(await backend.get("log", "x")), "3")
    await backend.close()
  })

  test(`${name}: commits of several connections take turns`, { skip }, async () => {
    const backends = await Promise.all([open(), open(), open()])
    const add = (backend: Backend) =>
      backend.commit(async (reader) => {
        const before = Number(text(await reader.get("volumes", "n")) ?? 0)
        await new Promise((resolve) => setImmediate(resolve))
        return [{ table: "volumes", key: "n", value: Buffer.from(String(before + 1)) }]
      })
    await Promise.all(backends.flatMap((backend) => Array.from({ length: 30 }, () => add(backend))))
    assert.equal(text(await backends[0].get("volumes", "n")), "90")
    for (const backend of backends) await backend.close()
  })
}

mkdirSync(join(place.dir, "sqlite"))
storeSuite("sqlite", () => Promise.resolve(openSqlite(join(place.dir, "sqlite"))), false)
storeSuite(
  "postgres",
  () => openPostgres(postgres?.url ?? ""),
  postgres === undefined && "no PostgreSQL is installed",
)
