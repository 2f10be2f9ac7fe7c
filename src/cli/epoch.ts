import { CofferError } from "../errors.ts"

/** `SOURCE_DATE_EPOCH` as `yyyymmdd` in UTC; 19700101 without it. Never the clock. */
export function dateOfEpoch(epoch: string | undefined): string {
  if (epoch === undefined) return "19700101"
  if (!/^\d{1,12}$/.test(epoch))
    throw new CofferError("usage", `SOURCE_DATE_EPOCH: wanted seconds since 1970, found ${epoch}`)
  return new Date(Number(epoch) * 1000).toISOString().slice(0, 10).replaceAll("-", "")
}
