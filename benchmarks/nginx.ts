import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { testedCore } from "./cores.ts"
import { endWithThis, isInstalled as has, type Program } from "./programs.ts"

/** Whether there is one to run. */
export const isInstalled = has("nginx")

/** Ends it with this process, even when that is killed. */
const endWithStarter = has("setpriv") ? ["setpriv", "--pdeathsig", "KILL"] : []

/** A port that nobody has at the moment: nginx does not tell which one it took. */
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = Net.createServer()
    server.listen(0, "127.0.0.1", () => {
      // Sound: it listens on TCP.
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resolve(port))
    })
  })

const reachable = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect(port, "127.0.0.1", () => resolve(true))
    socket.on("error", () => resolve(false)).on("connect", () => socket.destroy())
  })

/** One process of nginx on the tested core, with what `server` says in its server block. Its folder goes when it ends. */
const start = async (
  connections: number,
  main: string,
  { listen, server }: { readonly listen: string; readonly server: string }
): Promise<Program> => {
  const folder = Fs.mkdtempSync(join(tmpdir(), "bench-nginx-"))
  const port = await freePort()
  const config = join(folder, "nginx.conf")
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder};`)
  Fs.writeFileSync(
    config,
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr error;
worker_rlimit_nofile ${connections + 64};
events { worker_connections ${connections}; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; ${paths.join(" ")}
  ${main}
  server { listen 127.0.0.1:${port} reuseport backlog=4096 ${listen}; ${server} }
}
`
  )
  const [program, ...args] = [...endWithStarter, ...testedCore, "nginx", "-p", folder, "-e", "stderr", "-c", config]
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] })
  endWithThis(child)
  const clear = () => Fs.rmSync(folder, { recursive: true, force: true })
  process.once("exit", clear)
  child.once("exit", clear)
  for (let tries = 0; tries < 200; tries++) {
    if (child.pid !== undefined && await reachable(port)) return { process: child, pid: child.pid, port }
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  child.kill()
  throw new Error("nginx did not start")
}

export interface Options {
  /** Of clients and upstreams; each costs memory whether it is used or not. */
  readonly connections: number
  /** A folder with `key.pem` and `cert.pem`, to serve TLS. */
  readonly certificate?: string
}

/** nginx as a proxy: streaming both ways, with kept connections to the upstream, and with connections that switch. */
export const proxy = (to: string, { certificate, connections }: Options): Promise<Program> =>
  start(
    connections,
    `upstream target { server ${new URL(to).host}; keepalive 256; keepalive_requests 1000000000; }
    map $http_upgrade $hop { default upgrade; "" ""; }`,
    certificate === undefined
      ? { listen: "", server: location }
      : {
        listen: "ssl",
        server: `ssl_certificate ${certificate}/cert.pem; ssl_certificate_key ${certificate}/key.pem; ${location}`
      }
  )

const location = `location / {
  proxy_pass http://target; proxy_http_version 1.1;
  proxy_set_header Connection $hop; proxy_set_header Upgrade $http_upgrade;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off; client_max_body_size 0;
}`
