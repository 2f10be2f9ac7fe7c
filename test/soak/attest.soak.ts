// Every bit of every byte of every third-party quote and report, where the test takes a sample.
process.env["COFFER_SOAK"] = "1"
// oxlint-disable-next-line no-unassigned-import -- the test itself, with the variable set
await import("../attack/attest-vectors.test.ts")
