const upgrade = "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' " +
  "-H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='"

/** What there is to see, and the command for it. */
const features: ReadonlyArray<readonly [what: string, path: string, options?: string]> = [
  ["a handler with a typed service", "/quote/tea"],
  ["its typed error is a 404", "/quote/gold"],
  ["a failure: 500 without details, and the cause on this console", "/quote/cocoa"],
  ["a handler that takes too long is stopped: 503", "/slow"],
  ["a proxied request, with the same request id upstream", "/orders/1"],
  ["a proxied request with a body", "/orders", "-d tea "],
  ["server-sent events, as they come", "/orders/events", "-N "],
  ["another upstream", "/stock/tea"],
  ["a WebSocket through the proxy; curl leaves after a second", "/stock/live", `-N -m 1 ${upgrade} `],
  ["no such path: 404", "/nothing"],
  ["no such method: 405 and what is allowed", "/quote/tea", "-X DELETE "],
  ["stop the stock service", "/control/stop-stock", "-X POST "],
  ["now it is a 502", "/stock/tea"],
  ["while the rest works", "/orders/2"],
  ["start it again", "/control/start-stock", "-X POST "],
  ["and it is back", "/stock/coffee"]
]

/** What the gateway prints when it is ready. */
export const tries = (url: string): string =>
  [
    `listening on ${url}; try`,
    ...features.map(([what, path, options = ""]) => `  # ${what}\n  curl -i ${options}${url}${path}`),
    "and stop it with Ctrl-C"
  ].join("\n")
