/**
 * The proxies that ours is compared with, one a process: `node benchmarks/peers.ts NAME --to URL`. Each keeps its
 * connections to the upstream, strips what is for one hop alone, and adds nothing that it does not add by itself.
 */
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { parseArgs } from "node:util"
import { undiciProxy } from "./undiciProxy.ts"

type Peer = (to: string) => Promise<number>

const listen = (listener: Http.RequestListener): Promise<number> =>
  new Promise((resolve) => {
    const server = Http.createServer(listener)
    // Sound: it listens on TCP.
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
  })

const peers: Readonly<Record<string, Peer>> = {
  undici: (to) => listen(undiciProxy(to)),
  "http-proxy-3": async (to) => {
    const { createProxyServer } = await import("http-proxy-3")
    const proxy = createProxyServer({ target: to, agent: new Http.Agent({ keepAlive: true }) })
    return listen((request, response) => proxy.web(request, response))
  },
  "@fastify/http-proxy": async (to) => {
    const { fastify } = await import("fastify")
    const { default: httpProxy } = await import("@fastify/http-proxy")
    const app = fastify()
    await app.register(httpProxy, { upstream: to })
    return Number(new URL(await app.listen({ host: "127.0.0.1", port: 0 })).port)
  },
  "fast-proxy": async (to) => {
    const { default: fastProxy } = await import("fast-proxy")
    const { proxy } = fastProxy({ base: to, undici: true })
    return listen((request, response) => proxy(request, response, request.url ?? "/", {}))
  },
  httpxy: async (to) => {
    const { createProxyServer } = await import("httpxy")
    const proxy = createProxyServer({ target: to, agent: new Http.Agent({ keepAlive: true }) })
    return listen((request, response) => void proxy.web(request, response))
  }
}

const { positionals: [name = ""], values: { to = "" } } = parseArgs({
  allowPositionals: true,
  options: { to: { type: "string" } }
})
console.log(`listening on http://127.0.0.1:${await peers[name](to)}`)
