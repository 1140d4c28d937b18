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
const start = async (main: string, server: string): Promise<Program> => {
  const folder = Fs.mkdtempSync(join(tmpdir(), "bench-nginx-"))
  const port = await freePort()
  const config = join(folder, "nginx.conf")
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder};`)
  Fs.writeFileSync(
    config,
    `daemon off; master_process off; pid ${folder}/pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; ${paths.join(" ")}
  ${main}
  server { listen 127.0.0.1:${port} reuseport; ${server.replaceAll("FOLDER", folder)} }
}
`
  )
  const [program, ...args] = [...endWithStarter, ...testedCore, "nginx", "-p", folder, "-e", "stderr", "-c", config]
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] })
  endWithThis(child)
  child.once("exit", () => Fs.rmSync(folder, { recursive: true, force: true }))
  for (let tries = 0; tries < 200; tries++) {
    if (child.pid !== undefined && await reachable(port)) return { process: child, pid: child.pid, port }
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  child.kill()
  throw new Error("nginx did not start")
}

/** nginx as a proxy: streaming both ways, with kept connections to the upstream. */
export const proxy = (to: string): Promise<Program> =>
  start(
    `upstream target { server ${new URL(to).host}; keepalive 256; keepalive_requests 1000000000; }`,
    `location / {
      proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; proxy_request_buffering off; client_max_body_size 0;
    }`
  )
