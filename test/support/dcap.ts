import { createHash, type KeyObject, sign } from "node:crypto"
import type { Collateral } from "../../src/attest/collateral.ts"
import { productionRoots, type Roots } from "../../src/attest/roots.ts"
import { formatPem, parseCertificate, parseCrl } from "../../src/der/index.ts"
import { integer, octets, oid, sequence } from "./der-writer.ts"
import {
  type CertificateRequest,
  type CrlRequest,
  ecKey,
  makeCertificate,
  makeCrl,
  makeRoot,
  type Party,
  spkiOf,
  testNow,
} from "./pki.ts"

/** A whole Intel for tests: root, PCK CA, PCK, TCB signing, collateral and quotes. Every part can be made wrong. */

export interface Level {
  readonly status: string
  readonly sgx?: number
  readonly tdx?: readonly number[]
  readonly pceSvn?: number
  readonly advisories?: readonly string[]
}

export interface SvnLevelRequest {
  readonly svn: number
  readonly status: string
}

export interface World {
  readonly tee?: "sgx" | "tdx"
  readonly version?: 3 | 4 | 5
  readonly td15?: boolean
  readonly pck?: Partial<CertificateRequest>
  readonly authority?: Partial<CertificateRequest>
  readonly root?: Partial<CertificateRequest>
  readonly tcbSigner?: Partial<CertificateRequest>
  readonly pckCrl?: Partial<CrlRequest>
  readonly rootCrl?: Partial<CrlRequest>
  readonly levels?: readonly Level[]
  readonly moduleLevels?: readonly SvnLevelRequest[]
  readonly qeLevels?: readonly SvnLevelRequest[]
  readonly tcbInfo?: Readonly<Record<string, unknown>>
  readonly qeIdentity?: Readonly<Record<string, unknown>>
  readonly teeTcbSvn?: readonly number[]
  readonly teeTcbSvn2?: readonly number[]
  readonly pckSvn?: number
  readonly attributes?: string
  readonly qeSvn?: number
  readonly reportData?: Uint8Array
  readonly order?: readonly (0 | 1 | 2)[]
  /** Certificates of the quote as bare DER, as some quoting libraries have them. */
  readonly derChain?: boolean
}

export interface Built {
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly roots: Roots
  readonly now: number
  readonly parties: Readonly<Record<"root" | "authority" | "pck" | "tcb", Party>>
}

const parties = {
  root: { name: "Intel SGX Root CA", key: ecKey() },
  authority: { name: "Intel SGX PCK Platform CA", key: ecKey() },
  pck: { name: "Intel SGX PCK Certificate", key: ecKey() },
  tcb: { name: "Intel SGX TCB Signing", key: ecKey() },
} as const

const fmspc = "00906ed50000"

export function buildDcap(world: World = {}): Built {
  const chain = buildChain(world)
  const tcbSigner = makeCertificate({
    subject: parties.tcb.name,
    publicKey: parties.tcb.key,
    issuer: parties.root,
    ca: false,
    keyUsage: ["digitalSignature"],
    ...world.tcbSigner,
  })
  const certificates = [tcbSigner, chain.root].map((bytes) => parseCertificate(bytes))
  const document = (value: unknown) => {
    const text = JSON.stringify(value)
    return { text, signature: p1363(Buffer.from(text), parties.tcb.key), chain: certificates }
  }
  const crls = [
    makeCrl({ issuer: parties.authority, ...world.pckCrl }),
    makeCrl({ issuer: parties.root, ...world.rootCrl }),
  ].map((bytes) => parseCrl(bytes))
  return {
    quote: buildQuote(world, chain),
    collateral: {
      tcbInfos: [document(tcbInfoOf(world))],
      identities: [document(qeIdentityOf(world))],
      crls,
      certificates: [],
      attestationKeys: [],
    },
    roots: { ...productionRoots, intelSgx: [spkiOf(parties.root.key)] },
    now: testNow,
    parties,
  }
}

interface Chain {
  readonly pck: Uint8Array
  readonly authority: Uint8Array
  readonly root: Uint8Array
}

function buildChain(world: World): Chain {
  const components = Array.from({ length: 16 }, (_, i) =>
    sequence(oid(`${sgxOid}.2.${i + 1}`), integer(world.pckSvn ?? 5)),
  )
  const tcb = sequence(
    ...components,
    sequence(oid(`${sgxOid}.2.17`), integer(13)),
    sequence(oid(`${sgxOid}.2.18`), octets(new Uint8Array(16).fill(5))),
  )
  const value = sequence(
    sequence(oid(`${sgxOid}.1`), octets(new Uint8Array(16).fill(1))),
    sequence(oid(`${sgxOid}.2`), tcb),
    sequence(oid(`${sgxOid}.3`), octets(new Uint8Array(2))),
    sequence(oid(`${sgxOid}.4`), octets(Buffer.from(fmspc, "hex"))),
  )
  return {
    pck: makeCertificate({
      subject: parties.pck.name,
      publicKey: parties.pck.key,
      issuer: parties.authority,
      ca: false,
      keyUsage: ["digitalSignature"],
      extensions: [{ oid: sgxOid, value }],
      ...world.pck,
    }),
    authority: makeCertificate({
      subject: parties.authority.name,
      publicKey: parties.authority.key,
      issuer: parties.root,
      ca: true,
      pathLength: 0,
      keyUsage: ["certSign", "crlSign"],
      ...world.authority,
    }),
    root: makeRoot(parties.root, world.root),
  }
}

const sgxOid = "1.2.840.113741.1.13.1"

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z")
}

const dates = {
  issueDate: isoTime(testNow - 86400),
  nextUpdate: isoTime(testNow + 86400),
  tcbEvaluationDataNumber: 17,
}

function svnLevels(levels: readonly SvnLevelRequest[]) {
  return levels.map(({ svn, status }) => ({
    tcb: { isvsvn: svn },
    tcbDate: dates.issueDate,
    tcbStatus: status,
  }))
}

function tcbInfoOf(world: World) {
  const levels = world.levels ?? [{ status: "UpToDate" }]
  const module = {
    mrsigner: "00".repeat(48),
    attributes: "00".repeat(8),
    attributesMask: "ff".repeat(8),
  }
  const tdx = world.tee === "tdx"
  const moduleLevels = svnLevels(world.moduleLevels ?? [{ svn: 5, status: "UpToDate" }])
  return {
    id: tdx ? "TDX" : "SGX",
    version: 3,
    ...dates,
    fmspc,
    pceId: "0000",
    tcbType: 0,
    ...(tdx
      ? {
          tdxModule: module,
          tdxModuleIdentities: [1, 2].map((n) => ({
            id: `TDX_0${n}`,
            ...module,
            tcbLevels: moduleLevels,
          })),
        }
      : {}),
    tcbLevels: levels.map((level) => ({
      tcb: {
        sgxtcbcomponents: Array.from({ length: 16 }, () => ({ svn: level.sgx ?? 5 })),
        ...(tdx
          ? {
              tdxtcbcomponents: Array.from({ length: 16 }, (_, i) => ({
                svn: level.tdx?.[i] ?? 0,
              })),
            }
          : {}),
        pcesvn: level.pceSvn ?? 13,
      },
      tcbDate: dates.issueDate,
      tcbStatus: level.status,
      ...(level.advisories === undefined ? {} : { advisoryIDs: level.advisories }),
    })),
    ...world.tcbInfo,
  }
}

function qeIdentityOf(world: World) {
  return {
    id: world.tee === "tdx" ? "TD_QE" : "QE",
    version: 2,
    ...dates,
    miscselect: "00000000",
    miscselectMask: "ffffffff",
    attributes: `11${"00".repeat(15)}`,
    attributesMask: `fb${"ff".repeat(7)}${"00".repeat(8)}`,
    mrsigner: "ab".repeat(32),
    isvprodid: 2,
    tcbLevels: svnLevels(world.qeLevels ?? [{ svn: 4, status: "UpToDate" }]),
    ...world.qeIdentity,
  }
}

export function p1363(data: Uint8Array, key: KeyObject): Uint8Array {
  return sign("sha256", data, { key, dsaEncoding: "ieee-p1363" })
}

function sgxReport(fields: {
  readonly attributes: string
  readonly mrSigner: string
  readonly productId: number
  readonly svn: number
  readonly reportData: Uint8Array
}): Buffer {
  const report = Buffer.alloc(384)
  report.write(fields.attributes, 48, "hex")
  report.fill(0x77, 64, 96)
  report.write(fields.mrSigner, 128, "hex")
  report.writeUInt16LE(fields.productId, 256)
  report.writeUInt16LE(fields.svn, 258)
  report.set(fields.reportData, 320)
  return report
}

function tdReport(world: World): Buffer {
  const report = Buffer.alloc(world.td15 === true ? 648 : 584)
  report.set(world.teeTcbSvn ?? [5, 1, 6], 0)
  report.write(world.attributes ?? "0000001000000000", 120, "hex")
  report.fill(0x99, 136, 184)
  report.set(world.reportData ?? new Uint8Array(64).fill(3), 520)
  if (world.td15 === true) report.set(world.teeTcbSvn2 ?? [5, 1, 6], 584)
  return report
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16LE(value)
  return bytes
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function buildQuote(world: World, chain: Chain): Uint8Array {
  const tdx = world.tee === "tdx"
  const version = world.version ?? (tdx ? (world.td15 === true ? 5 : 4) : 3)
  const body = tdx
    ? tdReport(world)
    : sgxReport({
        attributes: world.attributes ?? "0500000000000000e700000000000000",
        mrSigner: "cd".repeat(32),
        productId: 7,
        svn: 3,
        reportData: world.reportData ?? new Uint8Array(64).fill(3),
      })
  const header = Buffer.concat([
    u16(version),
    u16(2),
    u32(tdx ? 0x81 : 0),
    u32(0),
    Buffer.from("939a7233f79c4ca9940a0db3957f0607", "hex"),
    Buffer.alloc(20),
  ])
  const type = tdx ? (world.td15 === true ? 3 : 2) : 1
  const described = version === 5 ? [u16(type), u32(body.length), body] : [body]
  const signedPart = Buffer.concat([header, ...described])
  const attestation = ecKey()
  const jwk = attestation.export({ format: "jwk" })
  const point = Buffer.concat([
    Buffer.from(String(jwk.x), "base64url"),
    Buffer.from(String(jwk.y), "base64url"),
  ])
  const auth = Buffer.alloc(32, 9)
  const bound = createHash("sha256").update(point).update(auth).digest()
  const qe = sgxReport({
    attributes: `15${"00".repeat(7)}e700000000000000`,
    mrSigner: "ab".repeat(32),
    productId: 2,
    svn: world.qeSvn ?? 4,
    reportData: Buffer.concat([bound, Buffer.alloc(32)]),
  })
  const blocks = [chain.pck, chain.authority, chain.root]
  const order = world.order ?? [0, 1, 2]
  const pem = Buffer.concat(
    order.map((i) => {
      const der = blocks[i] ?? new Uint8Array()
      return world.derChain === true ? der : Buffer.from(formatPem("CERTIFICATE", der))
    }),
  )
  const qeData = Buffer.concat([
    qe,
    p1363(qe, parties.pck.key),
    u16(auth.length),
    auth,
    u16(5),
    u32(pem.length),
    pem,
  ])
  const rest = version === 3 ? qeData : Buffer.concat([u16(6), u32(qeData.length), qeData])
  const signatureData = Buffer.concat([p1363(signedPart, attestation), point, rest])
  return Buffer.concat([signedPart, u32(signatureData.length), signatureData])
}
