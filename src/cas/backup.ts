import { fromHex, toHex } from "../bytes/index.ts"
import { Sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { type Backend, type Row, type Table, tables, type Write } from "./store/backend.ts"

/**
 * A backup: one JSON line for each row, as sealed as it is in the database, and a last line with their SHA-256. It opens
 * only with the master key, which is not in it. No commit runs while it is made.
 */
const format = "coffer-cas-backup-1"

export async function writeBackup(
  backend: Backend,
  write: (line: string) => void,
): Promise<number> {
  let count = 0
  await backend.commit(async (reader) => {
    const hash = new Sha256()
    const line = (text: string): void => {
      hash.update(Buffer.from(`${text}\n`))
      write(`${text}\n`)
    }
    line(JSON.stringify({ format }))
    for (const table of tables)
      for (
        let rows = await reader.range(table, "", "", 1000);
        rows.length > 0;
        rows = await reader.range(table, "", lastKey(rows), 1000)
      ) {
        for (const { key, value } of rows)
          line(JSON.stringify([table, key, Buffer.from(value).toString("base64")]))
        count += rows.length
      }
    write(`${JSON.stringify({ sha256: toHex(hash.digest()) })}\n`)
    return []
  })
  return count
}

function lastKey(rows: readonly Row[]): string {
  return rows.at(-1)?.key ?? ""
}

/** Into an empty database only, all or nothing. The caller verifies the CAS afterwards. */
export async function readBackup(backend: Backend, text: string): Promise<number> {
  const lines = text.split("\n")
  const body = lines.slice(0, -2)
  const sum = /^\{"sha256":"([0-9a-f]{64})"\}$/.exec(lines.at(-2) ?? "")?.[1]
  const hash = toHex(
    new Sha256().update(Buffer.from(body.map((line) => `${line}\n`).join(""))).digest(),
  )
  if (body[0] !== JSON.stringify({ format }) || sum === undefined || fromHex(sum) === undefined)
    throw new CofferError(
      "integrity",
      "backup: wanted a whole CAS backup, found another file or a part of one",
      { reason: "backup-format" },
    )
  if (hash !== sum)
    throw new CofferError("integrity", `backup: wanted SHA-256 ${sum}, found ${hash}`, {
      reason: "backup-hash",
    })
  const writes = body.slice(1).map(parseRow)
  await backend.commit(async (reader) => {
    for (const table of tables)
      if ((await reader.range(table, "", "", 1)).length > 0)
        throw new CofferError(
          "config",
          `restore: wanted an empty database, found rows in ${table}`,
          { hint: "restore into a new directory" },
        )
    return writes
  })
  return writes.length
}

function parseRow(line: string): Write {
  const row: unknown = JSON.parse(line)
  if (Array.isArray(row) && row.length === 3) {
    const [table, key, value] = row as unknown[]
    if (typeof key === "string" && typeof value === "string" && isTable(table))
      return { table, key, value: Buffer.from(value, "base64") }
  }
  throw new CofferError("integrity", "backup: wanted a row, found something else", {
    reason: "backup-format",
  })
}

function isTable(name: unknown): name is Table {
  return tables.some((table) => table === name)
}
