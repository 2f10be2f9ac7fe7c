/** PostgreSQL on a volume, with many kills of the server and of the volume's daemon, each after some seconds of load. */
import { test } from "node:test"
import { cannotRunPostgres, postgresRounds } from "../apps/postgres.ts"

const rounds = Number(process.env["COFFER_ROUNDS"] ?? 20)

test(
  "postgresql: no acknowledged transaction is lost in many kills",
  {
    skip: cannotRunPostgres(),
  },
  () =>
    postgresRounds(
      Array.from({ length: rounds }, (_, i) => (i % 3 === 0 ? "server" : "daemon")),
      5,
    ),
)
