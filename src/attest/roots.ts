import { parseCertificate, parsePem } from "../der/index.ts"
import type { SnpProduct } from "./claims.ts"

/**
 * The keys on which all hardware evidence rests, as SubjectPublicKeyInfo. Pinned by key, not by certificate: Intel's root
 * has two certificates with one key and one serial number (to 2033 and to 2049).
 */
export interface Roots {
  readonly intelSgx: readonly Uint8Array[]
  /** Each product has a root of its own: a Milan root vouches for no Genoa. */
  readonly amd: Readonly<Record<SnpProduct, readonly Uint8Array[]>>
}

function decode(...lines: readonly string[]): Uint8Array {
  return new Uint8Array(Buffer.from(lines.join(""), "base64"))
}

/** Intel SGX Root CA; ARK-Milan, ARK-Genoa, ARK-Turin. */
export const productionRoots: Roots = {
  intelSgx: [
    decode(
      "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDIYZOj/iPWsCzaEKi71OiOSLRFhWGjbnBVJfVnkY4u3Ijk",
      "DYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlA==",
    ),
  ],
  amd: {
    Milan: [
      decode(
        "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEA0Ld52RJOdeiJlqK2JdsVmD7FktuotWwX1fNgW41XY9Xz",
        "1HEhSUmhLz9Cu9DHRlvgJSNxbeYYsnJfvyjx1MfU0V5tkKiU1EesNFta1kTA0szNisdYc9isqk7mXT5+KfGRbfc4",
        "V/9zRIcE8jlHN61S1ju8X93+6dxDUrG2SzxqJ4BhqyYmUDruPXJSX4vUc01P7j98MpqOS95rORdGHeI52Naz5m2B",
        "+O+vjsC060d37jY9LFeuOP4Meri8qgfi2S5kKqg/aF6aPtuAZQVR7u3KFYXP59XmJgtcog05gmI0T/OitLhuzVvp",
        "ZcLph0odh/1IPXqx3+MnjD97A7fXpqGd/y8KxX7jksTEzAOgbKAeam3lm+3yKIcTYMlsRMXPcjNbIvmsBykD//xS",
        "niusuHBkgnlENEWx1UcbQQrs+gVDkuVPhsnzIRNgYvM48Y+7LGiJYnrmE8xcrexekBxrva2V9TJQqnN3Q53kt5vi",
        "Qi3+gCfmkwC0F0tirIZbLkXPrPwzZ0M9eNxhIySb2npJfgnqz55I0u33wh4r0ZNQeTGfw03MBUtyuzGesGkcw+lo",
        "qMaq1qR4tjGbPYxCvpCq7+OgpCCoMNit2uLo9M18fHz10lOMT8nWAUvRZFzteXCm+7PHdYPlmQwUw3LvenJ/ILXo",
        "QPHfbkH0CyPfhl1jWhJFZasCAwEAAQ==",
      ),
    ],
    Genoa: [
      decode(
        "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEA3Cd95S/uFOuRIskW9vz9VDBF69NDQF79oRhL/L2PVQGh",
        "K3YdfEBgpF/JiwWFBsT/fXDhzA01p3LkcT/7LdjcRfKXjHl+0Qq/M4dZkh6QDoUeKzNBLDcBKDDGWo3v35NyrxbA",
        "1DnkYwUKU5AAk4P94tKXLp80oxt84ahyHoLmc/LqsGsp+oq1Bz4PPsYLwTG4iMKVaaT90/oZ4I8oibSru92vJhlq",
        "WO27d/Rxc3iUMyhNeGToOvgx/iUo4gGpG61NDpkEUvIzuKcaMx8IdTpWg2DF6SwF0IgVMffnvtJmA68BwJNWo1E4",
        "PLJdaPfBifcJpuBFwNVQIPQEVX3aP89HJSp8YbY9lySS6PlVEqTBBtaQmi4ATGmMR+n2K/e+JAhU2Gj7jIpJhOkd",
        "H9firQDnmlA2SFfJ/Cc0mGNzW9RmIhyOUnNFoclmkRhl3/AQU5Ys9Qsan1jT/EiyT+pCpmnA+y9edvhDCbOG8F2o",
        "xHGRdTBkylungrkXJGYiwGrR8kaiqv7NN8QhOBMqYjcbrkEr0f8QMKklIS5ruOfqlLMCBw8JLB3LkjpWgtD7Opxk",
        "zSsohN47Uom86RY6lp72g8eXHP1qYrnvhzaG1S70vw6OkbaaC9EjiH/uHgAJQGxon7u0Q7xgoREWA/e7JcBQwLg8",
        "0Hq/sbRuqesxz7wBWSY254cCAwEAAQ==",
      ),
    ],
    Turin: [
      decode(
        "MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAwaAriB7EIuVc4ZB1wD3YfDxL+9eyS7+izm0Jj3W772NI",
        "NCWl8Bj3w/JD2ZjmbRxWdIq/4d9iarCKorXloJUB1jRdgxqccTx1aOoig4+2w1XhVVJT7K457wT5ZLNJgQaxqa9E",
        "tkwjd6+9sOhlCDE9l43kQ0R2BikVJa/uyyVOSwEk5w5tXKOuG9jvq6QtAMJasW38wlqRDaKEGtZ9VUgGon27ZuL4",
        "sTJuC/azz9/iQBw8kEilzOl95AiTkeY5jSEBDWbAqnZk5qlM7kISKG20kgQm14mhNKDI2p2oua+zuAG7i52epoRF",
        "2GfU0TYk/yf+vCNB2tnechFQuP2e8bLk95ZdqPi9/UWw4JXjtdEA4u2JYplSSUPQVAXKt6LVqujtJcM59JKr2u0X",
        "Q75KwxcMp15gSXhBfInvPAwuAY4dEwwGqT8oIg4esPHwEsmChhYeDIxPG9R4fx9O0q6p8Gb+HXlTiS47P9YNeOpi",
        "dOUKzDl/S1OvyhDtSL8LJc24QATFydo/iD/KUdvFTRlD0crkAMkZLoWQ8hLDGc6BZJXsdd7Zf2e4UW3tI/1oh/2t",
        "23Ot3zyhTcv5gDbABu0LjVe98uRnS15SMwK//lJt9e5BqKvgABkSoABf+B4VFtPVEX0ygrYaFaI9i5ABrxnVBmzX",
        "pRb21iI1NlNCfOGUPIhVpWECAwEAAQ==",
      ),
    ],
  },
}

/**
 * The production roots and one more, a certificate in PEM or DER: for tests with a certification authority of their own.
 * Its common name says whom it may vouch for.
 */
export function rootsFrom(bytes: Uint8Array, where: string): Roots {
  const [pem] = parsePem(Buffer.from(bytes).toString("latin1"))
  const root = parseCertificate(pem?.bytes ?? bytes, where)
  const key = root.publicKey
  const name = root.subject.commonName ?? ""
  const amd = (product: SnpProduct) =>
    name === `ARK-${product}`
      ? [...productionRoots.amd[product], key]
      : productionRoots.amd[product]
  return {
    intelSgx: name.startsWith("ARK-")
      ? productionRoots.intelSgx
      : [...productionRoots.intelSgx, key],
    amd: { Milan: amd("Milan"), Genoa: amd("Genoa"), Turin: amd("Turin") },
  }
}
