/**
 * Intel SGX formats: MrEnclave, `.sgxs` record streams, SIGSTRUCT, MrSigner.
 *
 * Spec: `spec/sealed-binary.md` for what Coffer measures; the records and SIGSTRUCT are Intel's (SDM volume 3D), and
 * third-party vectors show that we agree with them byte for byte.
 * Promises: no I/O, no clock; MrEnclave is the SHA-256 of exactly the stream that the sink got; verification returns
 * claims or throws, and what is acceptable (`refuseSampleSigner`, a policy) is another call.
 */
export {
  MrEnclave,
  pageFlags,
  pageSize,
  type RecordSink,
} from "./mrenclave.ts"
export {
  type CertificationData,
  parseQuote,
  type Quote,
  type QuoteBody,
  quoteHeaderTable,
} from "./quote.ts"
export {
  isSgxDebug,
  isTdDebug,
  type SgxReport,
  sgxReportTable,
  type TdReport,
  tdReportTable,
} from "./report-body.ts"
export { type RsaSigningKey, readSigningKey } from "./rsa.ts"
export { SgxsReader } from "./sgxs.ts"
export {
  describeFields,
  mrSignerOf,
  refuseSampleSigner,
  type SigstructClaims,
  sampleMrSigner,
  sigstructSize,
} from "./sigstruct.ts"
export { signSigstruct } from "./sigstruct-sign.ts"
export { verifySigstruct } from "./sigstruct-verify.ts"
