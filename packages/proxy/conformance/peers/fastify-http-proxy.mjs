// @fastify/http-proxy as its README sets it up: node fastify-http-proxy.mjs UPSTREAM MODULES
import { createRequire } from "node:module"

const [upstream, modules] = process.argv.slice(2)
const require = createRequire(`${modules}/`)

const server = require("fastify")()
server.register(require("@fastify/http-proxy"), { upstream, websocket: true })
await server.listen({ port: 0, host: "127.0.0.1" })
console.log(`listening on http://127.0.0.1:${server.server.address().port}`)
