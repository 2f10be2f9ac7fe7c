/** What is taken from an image for several platforms. */
export function hostPlatform(): { os: string; architecture: string } {
  return { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" }
}
