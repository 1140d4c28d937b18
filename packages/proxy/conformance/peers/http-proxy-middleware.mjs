// http-proxy-middleware as its README sets it up, in Node's server: node http-proxy-middleware.mjs UPSTREAM MODULES
import { createServer } from "node:http"
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"

const [target, modules] = process.argv.slice(2)
const main = createRequire(`${modules}/`).resolve("http-proxy-middleware")
const { createProxyMiddleware } = await import(pathToFileURL(main))

const proxy = createProxyMiddleware({ target })
const server = createServer((request, response) => {
  void proxy(request, response, () => response.writeHead(404).end())
})
server.on("upgrade", proxy.upgrade)
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
