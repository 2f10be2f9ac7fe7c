import { test } from "node:test"
import { cannotMount } from "../support/memory-mount.ts"
import { killRounds } from "./kill.ts"

for (const pinned of [true, false])
  test(
    `${pinned ? "pinned" : "no pin"}: kill -9 of the daemon under load`,
    {
      skip: cannotMount(),
    },
    () => killRounds(3, pinned, 1),
  )
