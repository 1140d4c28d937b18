// nginx as a reverse proxy with its defaults, but for HTTP/1.1 and upgrades: node nginx.mjs UPSTREAM [NGINX]
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const [upstream, nginx = "nginx"] = process.argv.slice(2)

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

const port = await freePort()
const directory = mkdtempSync(join(tmpdir(), "conformance-nginx-"))
const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory};`)
writeFileSync(
  join(directory, "nginx.conf"),
  `daemon off; master_process off; pid ${directory}/pid; error_log stderr crit;
events {}
http {
  access_log off; ${temporary.join(" ")}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${upstream}; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }
}
`
)

const child = spawn(nginx, ["-c", join(directory, "nginx.conf"), "-e", "stderr"], { stdio: ["ignore", "ignore", "inherit"] })
child.once("exit", (code) => process.exit(code ?? 1))

const whenListening = () => {
  const probe = connect(port, "127.0.0.1", () => {
    probe.destroy()
    // It has read its configuration, and buffers nothing.
    rmSync(directory, { recursive: true, force: true })
    console.log(`listening on http://127.0.0.1:${port}`)
  })
  probe.once("error", () => setTimeout(whenListening, 20))
}
whenListening()
