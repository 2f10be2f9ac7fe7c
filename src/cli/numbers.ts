import { InvalidArgumentError } from "commander"

/** For commander's options: a whole number in decimal, within bounds. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (value >= min && value <= max) return value
    throw new InvalidArgumentError(`wanted a whole number from ${min} to ${max}`)
  }
}
