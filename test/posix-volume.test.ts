import { mounted } from "./support/posix-mounted.ts"
import { volumeMount } from "./support/volume-mount.ts"

mounted("an encrypted volume", volumeMount)
mounted("an authenticated volume", () => volumeMount("authenticated"))
