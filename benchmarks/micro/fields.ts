/** What happens to the fields of a request or response on its way. */
import { Fields, Forwarded, TrustedPeers } from "@sluice/core"
import { Body, HopByHop, Via } from "@sluice/proxy"
import * as RequestHead from "../../packages/proxy/src/internal/http1/requestHead.ts"
import type { Case } from "../micro.ts"

/** A browser's. */
const browser = Fields.make(
  ["Host", "shop.example"],
  ["Connection", "keep-alive"],
  ["Cache-Control", "max-age=0"],
  [
    "User-Agent",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
  ],
  ["Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"],
  ["Accept-Encoding", "gzip, deflate, br, zstd"],
  ["Accept-Language", "en-GB,en;q=0.9,de;q=0.8"],
  ["Cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"],
  ["Referer", "https://shop.example/orders"],
  ["Sec-Fetch-Dest", "document"],
  ["Sec-Fetch-Mode", "navigate"],
  ["Sec-Fetch-Site", "same-origin"],
  ["Upgrade-Insecure-Requests", "1"]
)

const bare = Fields.remove(browser, "connection")
const nominating = Fields.set(browser, "Connection", "close, X-Debug, Keep-Alive")
const proxied = Fields.append(
  Fields.append(browser, "Via", "1.1 edge (nginx), 2 cache"),
  "X-Forwarded-For",
  "192.0.2.1"
)

const forwarded = Fields.append(
  browser,
  "Forwarded",
  "for=192.0.2.43;proto=https;host=shop.example, for=\"[2001:db8:cafe::17]:4711\";by=203.0.113.60"
)
const parsed = Forwarded.parse(forwarded)
const elements = parsed._tag === "Success" ? parsed.success : []

const connection = { peer: "192.0.2.1", tls: true, host: "shop.example" }
const trustsNobody = TrustedPeers.outgoing(TrustedPeers.none)
const trustsPeer = TrustedPeers.outgoing(TrustedPeers.networks(["192.0.2.0/24"]))
const both = TrustedPeers.outgoing(TrustedPeers.none, { forwarded: true })

const endpoint = { protocol: "http:", hostname: "127.0.0.1", port: 8080 } as const
const request = {
  method: "GET",
  target: "/orders?page=2",
  fields: bare,
  body: Body.empty,
  clocks: {}
} as const

export const fields: ReadonlyArray<Case> = [
  { name: "Fields.get, the first of 13", run: () => Fields.get(browser, "host") },
  { name: "Fields.get, the last of 13", run: () => Fields.get(browser, "upgrade-insecure-requests") },
  { name: "Fields.get, none of 13", run: () => Fields.get(browser, "x-request-id") },
  { name: "Fields.set, replacing", run: () => Fields.set(browser, "Cookie", "session=1") },
  { name: "Fields.set, adding", run: () => Fields.set(browser, "X-Request-Id", "1") },
  { name: "Fields.append", run: () => Fields.append(browser, "X-Request-Id", "1") },
  { name: "Fields.remove", run: () => Fields.remove(browser, "cookie") },
  { name: "Fields.toHeaders", run: () => Fields.toHeaders(browser) },
  { name: "HopByHop.request, nothing to strip", run: () => HopByHop.request(bare) },
  { name: "HopByHop.request, keep-alive", run: () => HopByHop.request(browser) },
  { name: "HopByHop.request, nominated fields", run: () => HopByHop.request(nominating) },
  { name: "HopByHop.upgrade, none", run: () => HopByHop.upgrade(browser) },
  { name: "Via.check, no Via", run: () => Via.check(browser, "sluice") },
  { name: "Via.check, two others", run: () => Via.check(proxied, "sluice") },
  { name: "Via.append", run: () => Via.append(browser, "sluice") },
  { name: "X-Forwarded-*, nobody trusted", run: () => trustsNobody(connection, proxied) },
  { name: "X-Forwarded-*, the peer trusted", run: () => trustsPeer(connection, proxied) },
  { name: "X-Forwarded-* and Forwarded", run: () => both(connection, proxied) },
  { name: "Forwarded.parse, two elements", run: () => Forwarded.parse(forwarded) },
  { name: "Forwarded.format, two elements", run: () => Forwarded.format(elements) },
  { name: "a request's head is written", run: () => RequestHead.write(endpoint, request) }
]
