import type { TsmFiles } from "../../src/attest/node/tsm.ts"

export interface FakeTsmOptions {
  readonly provider: string
  /** The hardware; undefined: it refuses (EINVAL). */
  readonly report: (inblob: Uint8Array) => Uint8Array | undefined
  readonly aux?: Uint8Array
  /** The kernel drops the error of a close-time write. */
  readonly dropWrites?: boolean
  /** Another process writes just before this attribute is read. */
  readonly raceAt?: string
  /** How often `outblob` is EBUSY first. */
  readonly busy?: number
  /** No configfs-tsm at all. */
  readonly absent?: boolean
}

interface Request {
  inblob: Uint8Array | undefined
  generation: number
}

function errno(code: string, attribute: string): Error {
  const error = new Error(`${code}: fake, open '${attribute}'`)
  return Object.assign(error, { code, syscall: "open", path: attribute })
}

/** The kernel's configfs-tsm as it behaves: value taken at close without an error, generation counted, outblob made at read. */
export class FakeTsm implements TsmFiles {
  readonly #options: FakeTsmOptions
  readonly #requests = new Map<string, Request>()
  #busy: number

  constructor(options: FakeTsmOptions) {
    this.#options = options
    this.#busy = options.busy ?? 0
  }

  get requests(): readonly string[] {
    return [...this.#requests.keys()]
  }

  create(name: string): Promise<void> {
    if (this.#options.absent === true) return Promise.reject(errno("ENOENT", name))
    if (this.#requests.has(name)) return Promise.reject(errno("EEXIST", name))
    this.#requests.set(name, { inblob: undefined, generation: 0 })
    return Promise.resolve()
  }

  remove(name: string): Promise<void> {
    if (!this.#requests.delete(name)) return Promise.reject(errno("ENOENT", name))
    return Promise.resolve()
  }

  write(name: string, attribute: string, value: Uint8Array): Promise<void> {
    const request = this.#requests.get(name)
    if (request === undefined || attribute !== "inblob")
      return Promise.reject(errno("ENOENT", attribute))
    // Both kinds of hardware take 64 bytes; the error of any other size is lost at close.
    if (this.#options.dropWrites !== true && value.length === 64) {
      request.inblob = Uint8Array.from(value)
      request.generation += 1
    }
    return Promise.resolve()
  }

  read(name: string, attribute: string): Promise<Uint8Array> {
    const request = this.#requests.get(name)
    if (request === undefined) return Promise.reject(errno("ENOENT", attribute))
    if (attribute === this.#options.raceAt) request.generation += 1
    try {
      return Promise.resolve(this.#value(request, attribute))
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #value(request: Request, attribute: string): Uint8Array {
    switch (attribute) {
      case "provider":
        return Buffer.from(`${this.#options.provider}\n`)
      case "generation":
        return Buffer.from(`${request.generation}\n`)
      case "outblob":
        return this.#outblob(request)
      case "auxblob":
        if (this.#options.aux === undefined) throw errno("ENOENT", attribute)
        return this.#options.aux
      default:
        throw errno("ENOENT", attribute)
    }
  }

  #outblob(request: Request): Uint8Array {
    this.#busy -= 1
    if (this.#busy >= 0) throw errno("EBUSY", "outblob")
    const report = request.inblob === undefined ? undefined : this.#options.report(request.inblob)
    if (report === undefined) throw errno("EINVAL", "outblob")
    return report
  }

  /** AMD's table with VCEK and ASK. */
  static certificateTable(certificates: readonly Uint8Array[]): Uint8Array {
    const guids = ["63da758de6644564adc5f4b93be8accd", "4ab7b379bbac4fe4a02f05aef327c782"]
    const head = 24 * (certificates.length + 1)
    let offset = head
    const entries = certificates.map((certificate, i) => {
      const entry = Buffer.alloc(24)
      entry.write(guids[i] ?? "", "hex")
      entry.writeUInt32LE(offset, 16)
      entry.writeUInt32LE(certificate.length, 20)
      offset += certificate.length
      return entry
    })
    return Buffer.concat([...entries, Buffer.alloc(24), ...certificates])
  }
}
