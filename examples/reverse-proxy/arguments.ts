import { Target } from "@sluice/proxy"
import { parseArgs } from "node:util"

/** What the command line says. */
export interface Arguments {
  readonly to: string
  readonly port: number
}

/** Reads the command line, or ends the process with one line that says what is wrong with it. */
export const readArguments = (): Arguments => {
  const { port, to } = attempt(() =>
    parseArgs({ options: { to: { type: "string" }, port: { type: "string" } } }).values
  )
  if (to === undefined) return misused("--to is missing")
  if (port === undefined) return misused("--port is missing")
  attempt(() => Target.base(to), `--to ${to}: `)
  if (!/^\d+$/.test(port) || Number(port) > 65_535) return misused(`--port ${port}: not a number from 0 to 65535`)
  return { to, port: Number(port) }
}

/** Ends the process with one line on stderr. */
const misused = (why: string): never => {
  console.error(`error: ${why} (usage: node main.ts --to URL --port N, where 0 is any port)`)
  process.exit(2)
}

const attempt = <A>(read: () => A, prefix = ""): A => {
  try {
    return read()
  } catch (error) {
    return misused(prefix + (error instanceof Error ? error.message.split(/\. |\n/, 1)[0] : String(error)))
  }
}
