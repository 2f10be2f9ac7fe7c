/**
 * A program that works on an SQLite database until it is killed: `DATABASE JOURNAL_MODE [COUNT]`. Each transaction adds one
 * row of `log` and moves an amount between two rows of `account`; its number is printed when SQLite has acknowledged it.
 */
import { writeSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"

const [file = "", mode = "", most = "Infinity"] = process.argv.slice(2)
const database = new DatabaseSync(file)
// EXTRA, not FULL: with FULL a transaction counts when the journal's name is removed, but SQLite does not sync the directory.
database.exec(`PRAGMA journal_mode=${mode}; PRAGMA synchronous=EXTRA`)
database.exec(`
  CREATE TABLE IF NOT EXISTS log (n INTEGER PRIMARY KEY, text TEXT);
  CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, amount INTEGER);
  CREATE INDEX IF NOT EXISTS by_text ON log (text);
`)
const { count } = database.prepare("SELECT count(*) AS count FROM account").get() as {
  count: number
}
if (count === 0) {
  const add = database.prepare("INSERT INTO account VALUES (?, 1000)")
  database.exec("BEGIN")
  for (let id = 0; id < 200; id += 1) add.run(id)
  database.exec("COMMIT")
}

const insert = database.prepare("INSERT INTO log VALUES (?, ?)")
const move = database.prepare("UPDATE account SET amount = amount + ? WHERE id = ?")
const newest = database.prepare("SELECT coalesce(max(n), 0) AS n FROM log").get() as { n: number }
for (let n = newest.n + 1; n <= Number(most); n += 1) {
  database.exec("BEGIN IMMEDIATE")
  insert.run(n, `${(n * 7919) % 1000} `.repeat(1 + (n % 300)))
  move.run(n, n % 200)
  move.run(-n, (n * 31 + 7) % 200)
  database.exec("COMMIT")
  writeSync(1, `${n}\n`)
}
database.close()
