import { Cursor, concatBytes } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { algorithms, type PcrSelection } from "./structures.ts"

/** Commands and responses of a TPM 2.0 (TCG, Part 3) on the wire: big-endian, one response to one command. */

export function u8(value: number): Uint8Array {
  return new Uint8Array([value])
}

export function u16(value: number): Uint8Array {
  return new Uint8Array([value >>> 8, value & 0xff])
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

/** TPM2B: size, then bytes. */
export function tpm2b(bytes: Uint8Array): Uint8Array {
  return concatBytes(u16(bytes.length), bytes)
}

export const emptyTpm2b = tpm2b(new Uint8Array())

/** TPML_PCR_SELECTION; bitmaps of three bytes, as PC TPMs have 24 registers. */
export function pcrSelections(selections: readonly PcrSelection[]): Uint8Array {
  const parts = selections.map(({ bank, indices }) => {
    const bitmap = new Uint8Array(3)
    for (const index of indices) {
      if (!(index >= 0 && index < 24)) throw new TypeError(`no PCR ${index}`)
      bitmap[index >> 3] = (bitmap[index >> 3] ?? 0) | (1 << (index & 7))
    }
    return concatBytes(u16(algorithms[bank]), u8(3), bitmap)
  })
  return concatBytes(u32(parts.length), ...parts)
}

export const commandCodes = {
  nvUndefineSpace: 0x122,
  nvDefineSpace: 0x12a,
  createPrimary: 0x131,
  nvIncrement: 0x134,
  activateCredential: 0x147,
  nvRead: 0x14e,
  policySecret: 0x151,
  create: 0x153,
  load: 0x157,
  quote: 0x158,
  unseal: 0x15e,
  flushContext: 0x165,
  nvReadPublic: 0x169,
  startAuthSession: 0x176,
  getRandom: 0x17b,
  pcrRead: 0x17e,
  policyPcr: 0x17f,
  pcrExtend: 0x182,
  policyGetDigest: 0x189,
} as const

export type CommandName = keyof typeof commandCodes

const tagNoSessions = 0x8001
const tagSessions = 0x8002
const passwordSession = 0x40000009

export interface CommandRequest {
  readonly name: CommandName
  readonly handles?: readonly number[]
  /** Sessions, one for each handle that wants authorisation: a handle of a policy session, or "password" (empty). */
  readonly sessions?: readonly (number | "password")[]
  readonly parameters?: Uint8Array
}

export function encodeCommand(request: CommandRequest): Uint8Array {
  const { name, handles = [], sessions = [], parameters = new Uint8Array() } = request
  const areas = sessions.map((session) =>
    concatBytes(
      u32(session === "password" ? passwordSession : session),
      emptyTpm2b,
      u8(0), // the session ends with the command
      emptyTpm2b,
    ),
  )
  const area = concatBytes(...areas)
  const body = concatBytes(
    ...handles.map(u32),
    ...(sessions.length > 0 ? [u32(area.length), area] : []),
    parameters,
  )
  return concatBytes(
    u16(sessions.length > 0 ? tagSessions : tagNoSessions),
    u32(10 + body.length),
    u32(commandCodes[name]),
    body,
  )
}

export interface CommandResponse {
  readonly handle: number
  readonly parameters: Cursor
}

/** A TPM's own error, with its response code in `facts.rc`. */
export function tpmFault(name: CommandName, code: number): CofferError {
  const rc = `0x${code.toString(16).padStart(3, "0")}`
  return new CofferError("io", `tpm: ${name}: wanted success, found response code ${rc}`, {
    reason: "tpm-response",
    facts: { command: name, rc },
  })
}

/** `hasHandle`: whether the response begins with a handle. */
export function decodeResponse(
  request: CommandRequest,
  bytes: Uint8Array,
  hasHandle: boolean,
): CommandResponse {
  const cursor = new Cursor(bytes, `tpm response to ${request.name}`)
  const tag = cursor.u16Be("tag")
  const size = cursor.u32Be("size")
  const code = cursor.u32Be("response code")
  if (size !== bytes.length) throw cursor.fault("size", String(bytes.length), String(size))
  if (code !== 0) throw tpmFault(request.name, code)
  const handle = hasHandle ? cursor.u32Be("handle") : 0
  const rest = tag === tagSessions ? cursor.u32Be("parameter size") : cursor.remaining
  return { handle, parameters: new Cursor(cursor.bytes(rest, "parameters"), request.name) }
}
