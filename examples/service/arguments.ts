import { parseArgs } from "node:util"

/** What the command line says. */
export interface Arguments {
  readonly port: number
  /** The database's file; `:memory:` for none. */
  readonly database: string
  readonly origins: ReadonlyArray<string>
}

/** Reads the command line, or ends the process with one line that says what is wrong with it. */
export const readArguments = (): Arguments => {
  const { database, origin, port } = parse()
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) return misused(`--port ${port}: not a number from 0 to 65535`)
  const wrong = origin.find((one) => !URL.canParse(one) || new URL(one).origin !== one)
  if (wrong !== undefined) return misused(`--origin ${wrong}: not an origin such as https://app.example.com`)
  return { database, origins: origin, port: Number(port) }
}

const parse = () => {
  try {
    return parseArgs({
      options: {
        database: { type: "string", default: ":memory:" },
        origin: { type: "string", multiple: true, default: [] },
        port: { type: "string", default: "3000" }
      }
    }).values
  } catch (error) {
    return misused(error instanceof Error ? error.message.split(". ", 1)[0] : String(error))
  }
}

/** Ends the process with one line on stderr. */
const misused = (why: string): never => {
  console.error(`error: ${why} (usage: node main.ts [--port N] [--database FILE] [--origin URL]...)`)
  process.exit(2)
}
