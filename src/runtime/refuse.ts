import { CofferError } from "../errors.ts"

/** A field of config.json that the engine, or who commands it, may not choose. */
export function refuse(field: string, wanted: string, found: string, hint?: string): CofferError {
  return new CofferError("refused", `config.json: ${field}: wanted ${wanted}, found ${found}`, {
    reason: "config-json",
    facts: { field },
    ...(hint === undefined ? {} : { hint }),
  })
}
