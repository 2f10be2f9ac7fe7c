import { existsSync } from "node:fs"
import { CofferError } from "../errors.ts"
import { type Coverage, minimise, type ProtectInput } from "../protect/index.ts"
import { formatTrace, mergeTraces, parseTrace, type Trace } from "../shield/index.ts"
import { coverageJson, reportCoverage } from "./coverage-report.ts"
import { readText } from "./read-text.ts"
import { type TraceInput, traceService } from "./trace-service.ts"
import { writeText } from "./write-text.ts"

export interface TraceOptions {
  readonly trace?: true
  readonly traceWith?: string
  readonly traceFile?: string
  readonly minimise?: true
}

/** What is known of the files that a service uses, and what `protect` is to do with it. */
export class UsedFiles {
  readonly #input: Omit<TraceInput, "exercise" | "earlier">
  readonly #options: TraceOptions
  #trace: Trace | undefined
  #coverage: Coverage | undefined

  constructor(input: Omit<TraceInput, "exercise" | "earlier">, options: TraceOptions) {
    this.#input = input
    this.#options = options
    const { trace, traceWith, traceFile, minimise: less } = options
    if (trace === undefined && (traceWith !== undefined || input.command.length > 0))
      throw usage("--trace, for a command to run", "none")
    if (trace === undefined && less === true && traceFile === undefined)
      throw usage("--trace or --trace-file with --minimise", "neither")
    if (trace === undefined && less === undefined && traceFile !== undefined)
      throw usage("--trace or --minimise with --trace-file", "neither")
  }

  /** Runs the service, if that was asked, and reads and writes the file. */
  async prepare(): Promise<void> {
    const { trace, traceFile, traceWith } = this.#options
    const known = traceFile !== undefined && existsSync(traceFile)
    if (trace === undefined && traceFile === undefined) return
    const earlier =
      traceFile !== undefined && (known || trace === undefined)
        ? parseTrace(readText(traceFile), traceFile)
        : undefined
    if (trace === undefined) {
      this.#trace = earlier
      return
    }
    const found = await traceService({ ...this.#input, exercise: traceWith, earlier })
    this.#trace = earlier === undefined ? found.trace : mergeTraces(earlier, found.trace)
    this.#coverage = found.coverage
    if (traceFile !== undefined) writeText(traceFile, formatTrace(this.#trace))
  }

  /** For `protectImage`. */
  get selection(): Pick<ProtectInput, "select"> {
    const trace = this.#trace
    if (this.#options.minimise === undefined || trace === undefined) return {}
    const { keep } = this.#input.service
    return {
      select: (root, manifest) => {
        const found = minimise(root, { trace, keep, manifest })
        this.#coverage = found.coverage
        return found.root
      },
    }
  }

  /** For people on stderr; for `--json` the value. */
  report(): unknown {
    if (this.#coverage === undefined || this.#trace === undefined) return undefined
    reportCoverage(this.#input.io, this.#coverage, this.#options.minimise === true)
    return coverageJson(this.#coverage, this.#trace)
  }
}

function usage(wanted: string, found: string): CofferError {
  return new CofferError("usage", `wanted ${wanted}, found ${found}`, {
    hint: "coffer protect --help has examples",
  })
}
