// http-proxy-3 as its README sets it up: node http-proxy-3.mjs UPSTREAM MODULES
import { createServer } from "node:http"
import { createRequire } from "node:module"

const [target, modules] = process.argv.slice(2)
const { createProxyServer } = createRequire(`${modules}/`)("http-proxy-3")

const proxy = createProxyServer({ target })
proxy.on("error", (_error, _request, response) => {
  if ("writeHead" in response && !response.headersSent) response.writeHead(502, { "Content-Length": 0 })
  response.end()
})

const server = createServer((request, response) => proxy.web(request, response))
server.on("upgrade", (request, socket, head) => proxy.ws(request, socket, head))
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
