/** The process of one of the {@link stacks}: tells its port, and how much CPU it has used whenever it is asked. */
import { Effect } from "effect"
import { stacks } from "./stacks.ts"

const [, , name = ""] = process.argv
const listening = stacks.get(name)
if (listening === undefined) throw new Error(`there is no stack called ${name}`)

process.on("message", () => {
  process.send?.(process.cpuUsage())
})
process.on("disconnect", () => process.exit())

const program = Effect.flatMap(listening, (port) => {
  process.send?.({ port })
  return Effect.never
})
await Effect.runPromise(Effect.scoped(program))
