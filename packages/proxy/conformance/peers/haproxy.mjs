// HAProxy in HTTP mode with its defaults; the time limits, which it asks for, end no case: node haproxy.mjs UPSTREAM [HAPROXY]
import { start } from "./program.mjs"

const [upstream, haproxy = "haproxy"] = process.argv.slice(2)

await start(
  haproxy,
  (port) =>
    `defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen proxy
  bind 127.0.0.1:${port}
  server upstream ${upstream.replace("http://", "")}
`,
  (file) => ["-db", "-q", "-f", file]
)
