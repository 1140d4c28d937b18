/**
 * The proxies that ours is compared with, one a process: `node benchmarks/peers.ts NAME --to URL [--certificate FOLDER]`.
 * Each keeps its connections to the upstream, strips what is for one hop alone, and adds nothing that it does not add by
 * itself. Idle connections of clients stay open for ten minutes, and there may be thousands to the upstream.
 */
import * as Http from "node:http"
import * as Https from "node:https"
import type { AddressInfo } from "node:net"
import type { Duplex } from "node:stream"
import { parseArgs } from "node:util"
import { read } from "./certificate.ts"
import { undiciProxy } from "./undiciProxy.ts"

const { positionals: [name = ""], values: { certificate, to = "" } } = parseArgs({
  allowPositionals: true,
  options: { to: { type: "string" }, certificate: { type: "string" } }
})

const tls = certificate === undefined ? undefined : read(certificate)
const keepAliveTimeout = 600_000
const pool = { connections: 4096, pipelining: 1 }

type Upgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => void

const listen = (listener: Http.RequestListener, upgrade?: Upgrade): Promise<number> =>
  new Promise((resolve) => {
    const server = tls === undefined
      ? Http.createServer({ keepAliveTimeout }, listener)
      : Https.createServer({ ...tls, keepAliveTimeout }, listener)
    if (upgrade !== undefined) server.on("upgrade", upgrade)
    // Sound: it listens on TCP.
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
  })

const peers: Readonly<Record<string, () => Promise<number>>> = {
  undici: () => listen(undiciProxy(to, pool)),
  "http-proxy-3": async () => {
    const { createProxyServer } = await import("http-proxy-3")
    const proxy = createProxyServer({ target: to, agent: new Http.Agent({ keepAlive: true }) })
    proxy.on("error", () => {})
    return listen(
      (request, response) => proxy.web(request, response),
      (request, socket, head) => proxy.ws(request, socket, head)
    )
  },
  "@fastify/http-proxy": async () => {
    const { fastify } = await import("fastify")
    const { default: httpProxy } = await import("@fastify/http-proxy")
    // The types know only servers of one kind.
    const app = fastify(
      { keepAliveTimeout, ...tls === undefined ? {} : { https: tls } } as { keepAliveTimeout: number }
    )
    await app.register(httpProxy, { upstream: to, websocket: true, undici: pool })
    return Number(new URL(await app.listen({ host: "127.0.0.1", port: 0 })).port)
  },
  "fast-proxy": async () => {
    const { default: fastProxy } = await import("fast-proxy")
    const { proxy } = fastProxy({ base: to, undici: pool })
    return listen((request, response) => proxy(request, response, request.url ?? "/", {}))
  },
  httpxy: async () => {
    const { createProxyServer } = await import("httpxy")
    const proxy = createProxyServer({ target: to, agent: new Http.Agent({ keepAlive: true }) })
    proxy.on("error", () => {})
    return listen(
      (request, response) => void proxy.web(request, response),
      (request, socket, head) => void proxy.ws(request, socket as never, {}, head)
    )
  }
}

console.log(`listening on http://127.0.0.1:${await peers[name]()}`)
