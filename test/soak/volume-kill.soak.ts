import { test } from "node:test"
import { killRounds } from "../crash/kill.ts"

for (const pinned of [true, false])
  test(`${pinned ? "pinned" : "no pin"}: kill -9 of the daemon under load, 50 times`, () =>
    killRounds(50, pinned, Number(process.env["COFFER_SEED"] ?? 1)))
