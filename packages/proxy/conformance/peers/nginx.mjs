// nginx as a reverse proxy with its defaults, but for HTTP/1.1, streaming and upgrades: node nginx.mjs UPSTREAM [NGINX]
import { start } from "./program.mjs"

const [upstream, nginx = "nginx"] = process.argv.slice(2)

const temporary = (directory) =>
  ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory};`).join(" ")

await start(
  nginx,
  (port, directory) =>
    `daemon off; master_process off; pid ${directory}/pid; error_log stderr crit;
events {}
http {
  access_log off; ${temporary(directory)}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${upstream}; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }
}
`,
  (file) => ["-c", file, "-e", "stderr"]
)
