// Caddy's reverse_proxy with its defaults: node caddy.mjs UPSTREAM [CADDY]
import { start } from "./program.mjs"

const [upstream, caddy = "caddy"] = process.argv.slice(2)

await start(
  caddy,
  (port) =>
    `{
  admin off
  auto_https off
  log {
    level ERROR
  }
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy ${upstream}
}
`,
  (file) => ["run", "--adapter", "caddyfile", "--config", file]
)
