import { Cursor, concatBytes } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import { sized } from "./structures.ts"
import { handles, type Tpm } from "./tpm.ts"
import { emptyTpm2b, tpm2b, u16, u32 } from "./wire.ts"

/**
 * A monotonic counter in a TPM's non-volatile memory. It only grows; a counter that is deleted and made again starts
 * above every value that any counter of this TPM ever had. So whoever remembers a value notices an older state.
 */
export class TpmCounter {
  readonly #tpm: Tpm
  readonly #index: number

  /** `index` is an NV index of the owner's range, 0x01800000 to 0x01bfffff. */
  constructor(tpm: Tpm, index: number) {
    if (index < 0x01800000 || index > 0x01bfffff) throw new TypeError("not an owner's NV index")
    this.#tpm = tpm
    this.#index = index
  }

  /** Makes the counter when it is not there, and gives it its first value. Another thing under the index is `config`. */
  async ensure(): Promise<void> {
    const attributes = await this.#attributes()
    if (attributes === undefined) await this.#define()
    else if ((attributes & kindMask) !== kindCounter)
      throw new CofferError(
        "config",
        `tpm: wanted a counter at NV index 0x${this.#index.toString(16)}, found another thing`,
      )
    if (((attributes ?? 0) & written) === 0) await this.increment()
  }

  async increment(): Promise<void> {
    await this.#tpm.run({
      name: "nvIncrement",
      handles: [this.#index, this.#index],
      sessions: ["password"],
    })
  }

  async read(): Promise<bigint> {
    const { parameters } = await this.#tpm.run({
      name: "nvRead",
      handles: [this.#index, this.#index],
      sessions: ["password"],
      parameters: concatBytes(u16(8), u16(0)),
    })
    return new Cursor(sized(parameters, "counter"), "tpm counter").u64Be("value")
  }

  /** For tests, and for an operator who gives the index up. */
  async remove(): Promise<void> {
    await this.#tpm.run({
      name: "nvUndefineSpace",
      handles: [handles.owner, this.#index],
      sessions: ["password"],
    })
  }

  async #attributes(): Promise<number | undefined> {
    try {
      const { parameters } = await this.#tpm.run({ name: "nvReadPublic", handles: [this.#index] })
      const area = new Cursor(sized(parameters, "nv public"), "nv public")
      area.u32Be("index")
      area.u16Be("nameAlg")
      return area.u32Be("attributes")
    } catch (error) {
      // 0x18b: TPM_RC_HANDLE of the first handle, there is no such index.
      if (error instanceof CofferError && error.facts["rc"] === "0x18b") return undefined
      throw error
    }
  }

  async #define(): Promise<void> {
    const area = concatBytes(
      u32(this.#index),
      u16(0x000b),
      u32(kindCounter | authWrite | authRead | noLockout),
      emptyTpm2b,
      u16(8),
    )
    await this.#tpm.run({
      name: "nvDefineSpace",
      handles: [handles.owner],
      sessions: ["password"],
      parameters: concatBytes(emptyTpm2b, tpm2b(area)),
    })
  }
}

const authWrite = 1 << 2
const kindMask = 0xf0
const kindCounter = 1 << 4
const authRead = 1 << 18
const noLockout = 1 << 25
const written = 1 << 29
