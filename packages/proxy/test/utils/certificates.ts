/** Certificates for one run of the tests. Nothing outside of it trusts them. */
import { generate } from "selfsigned"

const make = async (host: string, ...ips: ReadonlyArray<string>) => {
  const names = [{ type: 2, value: host } as const, ...ips.map((ip) => ({ type: 7, ip }) as const)]
  const { cert, private: key } = await generate([{ name: "commonName", value: host }], {
    keyType: "ec",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: names }
    ]
  })
  return { cert, key }
}

/** For `shop.test` and 127.0.0.1. */
export const shop = await make("shop.test", "127.0.0.1")

/** For `other.test` alone. */
export const other = await make("other.test")
