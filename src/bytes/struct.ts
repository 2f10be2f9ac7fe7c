/** A struct is a table; a test shows that its fields touch and add up (`tableFaults` is empty). */
export type Field = readonly [name: string, offset: number, size: number]
export type StructTable = readonly Field[]

export function structSize(table: StructTable): number {
  return table.reduce((end, [, offset, size]) => Math.max(end, offset + size), 0)
}

/** Every place where a field does not begin at the end of the one before it, in words; empty when the table is whole. */
export function tableFaults(table: StructTable, size: number): string[] {
  const faults: string[] = []
  let end = 0
  for (const [name, offset, width] of table) {
    if (offset !== end)
      faults.push(`${name}: begins at ${offset}, the field before it ends at ${end}`)
    end = offset + width
  }
  if (end !== size) faults.push(`the fields end at ${end}, the struct at ${size}`)
  return faults
}
