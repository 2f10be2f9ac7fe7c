// Every byte flipped, for readers and for writers: the same test with nothing left out.
process.env["COFFER_SOAK"] = "1"
await import("../attack/volume-attack.test.ts")
