import type { SealedReport } from "../../seal/index.ts"
import { formatSize } from "../progress.ts"
import { escapeHtml } from "./escape.ts"
import { type SizeNode, sizeTree } from "./size-tree.ts"
import { type Box, squarify } from "./treemap.ts"

const width = 1200
const height = 620
const headerHeight = 18
const margin = 2
/** Square units below which a directory is drawn as one piece. */
const leastArea = 3600
const letterWidth = 6.7
/** Pieces narrower than this have no line around them: lines alone would show. */
const leastStroke = 4

/** The root filesystem by protection, as inline SVG: areas are bytes, colours are classes. */
export function rootPicture(report: SealedReport): string {
  const parts: string[] = []
  draw(sizeTree(report), { x: 0, y: 0, width, height }, parts)
  return `<svg class="map" viewBox="0 0 ${width} ${height}" role="img" aria-label="The root filesystem: areas are bytes, colours are protection">${parts.join("")}</svg>`
}

function draw(node: SizeNode, box: Box, parts: string[]): void {
  const folder =
    node.children.some(({ weight }) => weight > 0) &&
    (node.path === "/" || (box.width * box.height > leastArea && box.width > 40 && box.height > 40))
  const title = `<title>${escapeHtml(node.path)}: ${formatSize(node.size)}, ${node.class}</title>`
  const fine = Math.min(box.width, box.height) < leastStroke ? " fine" : ""
  const kind = folder ? "folder" : `${node.class}${fine}`
  parts.push(`<g>${title}${rectangle(box, kind)}${label(node, box)}</g>`)
  if (!folder) return
  const inner = {
    x: box.x + margin,
    y: box.y + headerHeight,
    width: box.width - 2 * margin,
    height: box.height - headerHeight - margin,
  }
  for (const { item, box: place } of squarify(node.children, inner)) draw(item, place, parts)
}

function rectangle({ x, y, width: wide, height: high }: Box, kind: string): string {
  return `<rect class="${kind}" x="${short(x)}" y="${short(y)}" width="${short(wide)}" height="${short(high)}"/>`
}

function label({ name, path, size }: SizeNode, box: Box): string {
  const room = Math.floor((box.width - 8) / letterWidth)
  if (box.height < headerHeight - 2 || room < 3) return ""
  const full = `${path === "/" ? "/" : name}  ${formatSize(size)}`
  const shown =
    full.length <= room ? full : name.length <= room ? name : `${name.slice(0, room - 1)}…`
  return `<text x="${short(box.x + 4)}" y="${short(box.y + 13)}">${escapeHtml(shown)}</text>`
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10)
}
