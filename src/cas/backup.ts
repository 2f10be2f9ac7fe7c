import { toHex } from "../bytes/index.ts"
import { Sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { type Backend, type Row, type Table, tables, type Write } from "./store/backend.ts"

/**
 * A backup: one JSON line for each row, as sealed as it is in the database, and a last line with their SHA-256. It opens
 * only with the master key, which is not in it. It is the state of one commit; the CAS goes on meanwhile.
 */
const format = "coffer-cas-backup-1"

export async function writeBackup(
  backend: Backend,
  write: (line: string) => void,
): Promise<number> {
  let count = 0
  await backend.snapshot(async (reader) => {
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
  })
  return count
}

function lastKey(rows: readonly Row[]): string {
  return rows.at(-1)?.key ?? ""
}

const chunk = 2000
/** What makes it a CAS is written last: a restore that was cut off is an empty CAS, which says so. */
const last: readonly string[] = ["head", "identity"]

/**
 * Into an empty database only. `lines` is called twice, because nothing is believed before its sum is checked, and a
 * backup need not fit into memory. The caller verifies the CAS afterwards. Returns the rows.
 */
export async function readBackup(
  backend: Backend,
  lines: () => AsyncIterable<string>,
): Promise<number> {
  await requireWhole(lines())
  await backend.commit(async (reader) => {
    for (const table of tables)
      if ((await reader.range(table, "", "", 1)).length > 0)
        throw new CofferError(
          "config",
          `restore: wanted an empty database, found rows in ${table}`,
          { hint: "restore into a new directory" },
        )
    return []
  })
  const kept: Write[] = []
  let rows: Write[] = []
  let count = 0
  for await (const line of lines()) {
    if (!line.startsWith("[")) continue
    const row = parseRow(line)
    count += 1
    if (row.table === "meta" && last.includes(row.key)) kept.push(row)
    else rows.push(row)
    if (rows.length < chunk) continue
    const full = rows
    rows = []
    await backend.commit(() => Promise.resolve(full))
  }
  await backend.commit(() => Promise.resolve([...rows, ...kept]))
  return count
}

/** The last line is the sum of all lines before it. */
async function requireWhole(lines: AsyncIterable<string>): Promise<void> {
  const hash = new Sha256()
  let [before, first]: (string | undefined)[] = []
  for await (const line of lines) {
    first ??= line
    if (before !== undefined) hash.update(Buffer.from(`${before}\n`))
    before = line
  }
  const sum = /^\{"sha256":"([0-9a-f]{64})"\}$/.exec(before ?? "")?.[1]
  if (first !== JSON.stringify({ format }) || sum === undefined)
    throw new CofferError(
      "integrity",
      "backup: wanted a whole CAS backup, found another file or a part of one",
      { reason: "backup-format" },
    )
  const found = toHex(hash.digest())
  if (found === sum) return
  throw new CofferError("integrity", `backup: wanted SHA-256 ${sum}, found ${found}`, {
    reason: "backup-hash",
  })
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
