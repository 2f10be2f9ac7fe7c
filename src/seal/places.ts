/** Where the sealed binary is in a protected image; the runtime looks nowhere else. */
export const sealedPath = "/coffer/service"

/** And where the stores of its regions are: `/coffer/regions/NAME`. */
export const storesPath = "/coffer/regions"
