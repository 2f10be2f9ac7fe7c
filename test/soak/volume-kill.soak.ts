import { test } from "node:test"
import { killRounds } from "../crash/kill.ts"

// COFFER_ROUNDS: how many; COFFER_SEED: to repeat a failure.
const rounds = Number(process.env["COFFER_ROUNDS"] ?? 50)

for (const pinned of [true, false])
  test(`${pinned ? "pinned" : "no pin"}: kill -9 of the daemon under load, ${rounds} times`, () =>
    killRounds(rounds, pinned, Number(process.env["COFFER_SEED"] ?? 1)))
