/** One service, in a process of its own: `node benchmarks/service.ts WORKLOAD SUBJECT`. */
import type { Service } from "./services/shared.ts"

const load: Readonly<Record<string, () => Promise<Service>>> = {
  sluice: async () => (await import("./services/sluice.ts")).service,
  "sluice, json lines": async () => {
    const { jsonLines, service } = await import("./services/sluice.ts")
    return { ...service, stack: jsonLines }
  },
  "sluice with Effect's logger": async () => {
    const { effectLogger, service } = await import("./services/sluice.ts")
    return { ...service, stack: effectLogger }
  },
  effect: async () => (await import("./services/effect.ts")).service,
  fastify: async () => (await import("./services/fastify.ts")).service,
  hono: async () => (await import("./services/hono.ts")).service,
  express: async () => (await import("./services/express.ts")).service
}

// Express logs errors otherwise.
process.env.NODE_ENV = "production"

const [, , workload = "", subject = ""] = process.argv
const service = await load[subject]?.()
if (service === undefined || !(workload in service)) {
  console.error(`error: there is no ${workload} of ${subject} (subjects: ${Object.keys(load).join("; ")})`)
  process.exit(2)
}
// Sound: it is a member.
console.log(`listening on http://127.0.0.1:${await service[workload as keyof Service]()}`)
