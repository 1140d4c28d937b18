// What the programs that are no Node packages share: a free port, a file of settings, and the line that says it listens.
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

/** Starts a program with the settings for a port and a folder, and says so when it accepts connections. */
export const start = async (program, settings, options) => {
  const port = await freePort()
  const directory = mkdtempSync(join(tmpdir(), "conformance-"))
  const file = join(directory, "settings")
  writeFileSync(file, settings(port, directory))

  const env = { ...process.env, HOME: directory, XDG_CONFIG_HOME: directory, XDG_DATA_HOME: directory }
  const child = spawn(program, options(file), { env, stdio: ["ignore", "ignore", "inherit"] })
  const remove = () => rmSync(directory, { recursive: true, force: true })
  child.once("exit", (code) => {
    remove()
    process.exit(code ?? 1)
  })

  const whenListening = () => {
    const probe = connect(port, "127.0.0.1", () => {
      probe.destroy()
      // It has read its settings.
      remove()
      console.log(`listening on http://127.0.0.1:${port}`)
    })
    probe.once("error", () => setTimeout(whenListening, 20))
  }
  whenListening()
}
