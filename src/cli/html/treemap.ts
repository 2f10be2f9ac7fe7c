/**
 * A squarified treemap (Bruls, Huizing, van Wijk 2000): rectangles whose areas are as their weights, near to squares.
 * Pure arithmetic: the same input gives the same picture.
 */

export interface Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

export interface Placed<T> {
  readonly item: T
  readonly box: Box
}

/** Items with a weight above 0, the heaviest first, fill the box. */
export function squarify<T extends { readonly weight: number }>(
  items: readonly T[],
  box: Box,
): Placed<T>[] {
  const pending = items.filter(({ weight }) => weight > 0).toSorted((a, b) => b.weight - a.weight)
  const total = pending.reduce((sum, { weight }) => sum + weight, 0)
  if (total === 0 || box.width <= 0 || box.height <= 0) return []
  const scale = (box.width * box.height) / total
  const placed: Placed<T>[] = []
  let rest = box
  for (let at = 0; at < pending.length; ) {
    const side = Math.min(rest.width, rest.height)
    const count = rowLength(pending, at, side, scale)
    const row = pending.slice(at, at + count)
    rest = placeRow(row, rest, scale, placed)
    at += count
  }
  return placed
}

/** How many items from `at` on make the row with the best worst ratio. */
function rowLength(
  items: readonly { readonly weight: number }[],
  at: number,
  side: number,
  scale: number,
): number {
  const largest = (items[at]?.weight ?? 0) * scale
  let sum = largest
  let best = worstRatio(largest, largest, sum, side)
  let count = 1
  for (const { weight } of items.slice(at + 1)) {
    const area = weight * scale
    const next = worstRatio(largest, area, sum + area, side)
    if (next > best) break
    best = next
    sum += area
    count += 1
  }
  return count
}

function worstRatio(largest: number, smallest: number, sum: number, side: number): number {
  const square = side * side
  return Math.max((square * largest) / (sum * sum), (sum * sum) / (square * smallest))
}

/** Puts a row along the shorter side, and returns what is left of the box. */
function placeRow<T extends { readonly weight: number }>(
  row: readonly T[],
  box: Box,
  scale: number,
  placed: Placed<T>[],
): Box {
  const rowWeight = row.reduce((sum, { weight }) => sum + weight, 0)
  const across = box.width >= box.height
  const [side, depth] = across ? [box.height, box.width] : [box.width, box.height]
  // What is left of a box has lost digits when it is thin: a row never leaves it all the same.
  const thickness = Math.min((rowWeight * scale) / side, depth)
  let along = across ? box.y : box.x
  for (const item of row) {
    const length = side * (item.weight / rowWeight)
    placed.push({
      item,
      box: across
        ? { x: box.x, y: along, width: thickness, height: length }
        : { x: along, y: box.y, width: length, height: thickness },
    })
    along += length
  }
  return across
    ? { ...box, x: box.x + thickness, width: Math.max(0, box.width - thickness) }
    : { ...box, y: box.y + thickness, height: Math.max(0, box.height - thickness) }
}
