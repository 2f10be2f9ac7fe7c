/** The architectures of sealed binaries, by the names that the manifest uses. */
export const machines = ["x86-64", "aarch64"] as const

export type Machine = (typeof machines)[number]

/** `e_machine`, and the largest page that a kernel of this architecture uses. */
export const machineConstants = {
  "x86-64": { elf: 62, pageSize: 0x1000 },
  aarch64: { elf: 183, pageSize: 0x1_0000 },
} as const satisfies Record<Machine, { readonly elf: number; readonly pageSize: number }>

/** Where offset 0 of the file would be in memory: a multiple of every page size. */
export const baseAddress = 0x40_0000

/** The architecture with that `e_machine`. */
export function machineOf(elf: number): Machine | undefined {
  return machines.find((machine) => machineConstants[machine].elf === elf)
}
