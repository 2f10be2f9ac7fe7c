/**
 * DER, X.509 certificates, CRLs and PEM.
 *
 * Spec: X.690 section 10, RFC 5280, RFC 7468.
 * Promises: pure, no I/O, no clock, no trust: parsing says what stands there, `attest` decides what it is worth.
 * Strict: what is not the one DER form of its value is an `integrity` error that names the field.
 */
export { type Crl, parseCrl } from "./crl.ts"
export type { Name } from "./name.ts"
export { formatPem, type PemBlock, parseCanonicalPem, parsePem } from "./pem.ts"
export { context, DerReader, type DerValue, tag } from "./reader.ts"
export {
  type Algorithm,
  type BasicConstraints,
  type Certificate,
  type Extension,
  type KeyUsage,
  oids,
  parseCertificate,
  readAlgorithm,
} from "./x509.ts"
