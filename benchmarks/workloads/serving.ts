/** Requests to services that answer by themselves: `services` says what each does for them. */
import { join } from "node:path"
import { testedCore } from "../cores.ts"
import { http } from "../http.ts"
import { start } from "../programs.ts"
import type { Requests } from "../requests.ts"
import { order, origin, token } from "../services/shared.ts"
import type { Start, Workload } from "../workload.ts"

const program = (workload: string, subject: string): Start => ({ flags, root }) =>
  start([...flags, join(root, "benchmarks/service.ts"), workload, subject], testedCore)

const frameworks = ["sluice", "effect", "fastify", "hono", "express"]

const served = (workload: string, subjects: ReadonlyArray<string>, requests: Requests): Workload => ({
  subjects: new Map(subjects.map((subject) => [subject, program(workload, subject)])),
  load: http(requests)
})

export const serving: Readonly<Record<string, Workload>> = {
  hello: served("hello", frameworks, { connections: 64, path: "/" }),
  json: served("json", frameworks, {
    connections: 64,
    path: "/",
    body: JSON.stringify(order),
    fields: { "content-type": "application/json" }
  }),
  stack: served("stack", [...frameworks, "sluice with Effect's logger", "sluice, json lines"], {
    connections: 64,
    path: "/",
    fields: { origin, authorization: `Bearer ${token}`, "user-agent": "wrk" }
  })
}
