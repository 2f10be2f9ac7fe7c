import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { toHex } from "../bytes/index.ts"
import { readSigningKey, SgxsReader, signSigstruct, verifySigstruct } from "./index.ts"

interface Vector {
  readonly name: string
  readonly kind: "sgxs" | "sigstruct"
  readonly hex: string
  readonly mrEnclave?: string
  readonly error?: string
}

const folder = "test/vectors/sgx"
const vectors = JSON.parse(readFileSync(`${folder}/vectors.json`, "utf8")) as Vector[]

function mrEnclaveOf({ kind, hex }: Vector): string {
  const bytes = Uint8Array.fromHex(hex)
  if (kind === "sigstruct") return toHex(verifySigstruct(bytes).mrEnclave)
  const reader = new SgxsReader()
  reader.update(bytes)
  return toHex(reader.finish().mrEnclave)
}

for (const vector of vectors)
  test(`vector: ${vector.kind}: ${vector.name}`, () => {
    if (vector.error === undefined) assert.equal(mrEnclaveOf(vector), vector.mrEnclave)
    else
      assert.throws(
        () => mrEnclaveOf(vector),
        (error: unknown) =>
          error instanceof Error &&
          (error as { code?: string }).code === "integrity" &&
          error.message.includes(vector.error ?? "-"),
      )
  })

test("the valid vector is signed again byte for byte", () => {
  const valid = vectors.find(({ name }) => name === "valid")
  const key = readSigningKey(readFileSync(`${folder}/test-key.pem`, "utf8"), "test-key.pem")
  const bytes = Uint8Array.fromHex(valid?.hex ?? "")
  assert.equal(toHex(signSigstruct(verifySigstruct(bytes), key)), toHex(bytes))
})
