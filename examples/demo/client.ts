/** Who asks the shop over HTTP. */
import { logs } from "./podman.ts"

export const url = "http://127.0.0.1:18473/"

/** Asks until the service listens; what it says then, or an error when it ends the connection. */
export async function answer(init: RequestInit = {}): Promise<unknown> {
  const giveUp = performance.now() + 30_000
  for (;;) {
    try {
      return await (await fetch(url, init)).json()
    } catch (error) {
      const refused = JSON.stringify((error as { cause?: unknown }).cause ?? {}).includes(
        "ECONNREFUSED",
      )
      if (!refused || performance.now() > giveUp)
        throw new Error(`no answer: ${logs()}`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
