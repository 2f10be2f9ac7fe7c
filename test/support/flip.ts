/** A copy with one bit changed. (`slice` of a Buffer is no copy: changes would add up, and hide what they should show.) */
export function flipped(bytes: Uint8Array, at: number, bit = at & 7): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ (1 << bit)
  return copy
}
