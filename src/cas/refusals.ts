import { CofferError } from "../errors.ts"
import type { AuditDetail } from "./audit.ts"
import type { Ledger, Transaction } from "./ledger.ts"
import { readPolicy } from "./policies.ts"
import { RateLimit } from "./rate-limit.ts"

/** Who asked for what: an address, and names as the request gave them. */
export interface Asker {
  readonly from: string
  readonly call: "attest" | "act" | "volume"
  /** `POLICY/SERVICE`, `POLICY` or `POLICY/VOLUME/INSTANCE`. */
  readonly subject: string
}

/** Facts of an error that may stand in the log, all of them public. */
const facts = ["field", "wanted", "found", "mrEnclave", "platformType"] as const
const told: readonly string[] = ["refused", "rollback", "integrity", "config"]
const maxText = 300

/**
 * Every no, with who asked and why, in the audit log. Who asks need not be anybody, so the disk is theirs to fill: an
 * address gets ten entries at once and then one a minute, all addresses together a hundred and then one in ten seconds
 * (about 5 MB a day). What has no entry is counted, and the next entry says how many there were.
 */
export class RefusalBounds {
  readonly #each = new RateLimit({ burst: 10, perSecond: 1 / 60 })
  readonly #all = new RateLimit({ burst: 100, perSecond: 1 / 10 })
  #unlogged = 0

  /** What to log of an error; undefined: it is no refusal, or one too many. */
  detail(asker: Asker, error: unknown): AuditDetail | undefined {
    if (!(error instanceof CofferError && told.includes(error.code))) return undefined
    if (!this.#each.allows(asker.from) || !this.#all.allows("all")) {
      this.#unlogged += 1
      return undefined
    }
    const unlogged = this.#unlogged
    this.#unlogged = 0
    return { ...detailOf(asker, error), ...(unlogged === 0 ? {} : { unlogged }) }
  }

  /** It could not be written down. */
  lost({ unlogged = 0 }: AuditDetail): void {
    this.#unlogged += Number(unlogged) + 1
  }
}

export class RefusalLog {
  readonly #ledger: Ledger
  readonly #bounds = new RefusalBounds()

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** Does `work`; when it refuses, that is durable in the log (within the bounds) before the asker hears of it. */
  async watch<T>(asker: Asker, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const detail = this.#bounds.detail(asker, error)
      if (detail !== undefined) await this.#note(asker, detail)
      throw error
    }
  }

  async #note(asker: Asker, detail: AuditDetail): Promise<void> {
    // The refusal stands whether or not it can be written down; what the database says is another request's matter.
    await this.#ledger
      .transact(async (tx) => {
        tx.log("refused", asker.subject, detail)
        if (asker.call === "attest") await keepVerdict(tx, asker.subject, detail)
      })
      .catch(() => this.#bounds.lost(detail))
  }
}

function detailOf({ from, call }: Asker, error: CofferError): Record<string, string> {
  const detail: Record<string, string> = { from, call, reason: error.reason ?? error.code }
  for (const name of facts) {
    const value = error.facts[name]
    if (value !== undefined && value !== null) detail[name] = String(value).slice(0, maxText)
  }
  return detail
}

/** The last no to each service that is there: names that a stranger made up get no row. */
async function keepVerdict(tx: Transaction, subject: string, detail: AuditDetail): Promise<void> {
  const [policy = "", service = ""] = subject.split("/")
  const services = (await readPolicy(tx, policy))?.policy.services ?? {}
  if (!Object.hasOwn(services, service)) return
  await tx.put("verdicts", `${subject}/refused`, { accepted: false, time: tx.time, ...detail })
}
