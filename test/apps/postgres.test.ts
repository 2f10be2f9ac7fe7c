/** PostgreSQL on a volume: kill -9 of the server, and of the daemon below it, loses no acknowledged transaction. */
import { test } from "node:test"
import { cannotRunPostgres, postgresRounds } from "./postgres.ts"

test(
  "postgresql: initdb, pgbench, kill -9 of the server and of the volume's daemon",
  {
    skip: cannotRunPostgres(),
  },
  () => postgresRounds(["server", "daemon"], 1),
)
