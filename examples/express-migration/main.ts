import { Server } from "@sluice/core"
import { Console, Effect, Layer } from "effect"
import { parseArgs } from "node:util"
import { makeShop } from "./shop.ts"
import { listen, stages } from "./stages.ts"

const { values } = parseArgs({
  options: { stage: { type: "string", default: "2" }, port: { type: "string", default: "3000" } }
})
const stage = stages.find((stage) => stage === values.stage)
if (stage === undefined) {
  console.error(`error: --stage ${values.stage}: there are ${stages.join(", ")}`)
  process.exit(2)
}

listen(stage, makeShop(), Number(values.port)).pipe(
  Effect.flatMap((port) => Console.log(`stage ${stage}: listening on http://127.0.0.1:${port}`)),
  Layer.effectDiscard,
  Server.run
)
