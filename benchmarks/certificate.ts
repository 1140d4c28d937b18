/** A certificate for 127.0.0.1 that nothing trusts, in a folder that goes with this process. */
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { generate } from "selfsigned"

const make = async (): Promise<string> => {
  const { cert, private: key } = await generate([{ name: "commonName", value: "127.0.0.1" }], { keyType: "ec" })
  const folder = Fs.mkdtempSync(join(tmpdir(), "bench-certificate-"))
  process.once("exit", () => Fs.rmSync(folder, { recursive: true, force: true }))
  Fs.writeFileSync(join(folder, "cert.pem"), cert)
  Fs.writeFileSync(join(folder, "key.pem"), key, { mode: 0o600 })
  return folder
}

let made: Promise<string> | undefined

/** The folder, with `key.pem` and `cert.pem` in it. */
export const certificate = (): Promise<string> => made ??= make()

/** What is in it, as a server of Node takes it. */
export const read = (folder: string) => ({
  key: Fs.readFileSync(join(folder, "key.pem")),
  cert: Fs.readFileSync(join(folder, "cert.pem"))
})
