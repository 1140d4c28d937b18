/** The tokens of two people, for the commands. */
export interface Tokens {
  readonly ann: string
  readonly ben: string
}

const ann = `-H "Authorization: Bearer $ANN"`
const ben = `-H "Authorization: Bearer $BEN"`
const json = `-H "Content-Type: application/json"`

/** What there is to see, and the command for it: what stands before the URL, and the path. */
const features: ReadonlyArray<readonly [what: string, options: string, path: string]> = [
  ["nobody is let in without a token: 401", "", "/orders"],
  ["ann orders: 201, with a Location and an ETag", `${ann} ${json} -d '{"sku":"tea","quantity":2}'`, "/orders"],
  [
    "an order with a key: 201",
    `${ann} ${json} -H 'Idempotency-Key: "k-1"' -d '{"sku":"milk","quantity":1}'`,
    "/orders"
  ],
  [
    "sent again it is the same order, not another one",
    `${ann} ${json} -H 'Idempotency-Key: "k-1"' -d '{"sku":"milk","quantity":1}'`,
    "/orders"
  ],
  [
    "and the key is not good for another: 422",
    `${ann} ${json} -H 'Idempotency-Key: "k-1"' -d '{"sku":"milk","quantity":9}'`,
    "/orders"
  ],
  ["what the schema does not allow: 400", `${ann} ${json} -d '{"sku":"tea","quantity":0}'`, "/orders"],
  ["ben may only read: 403, and which scope it takes", `${ben} ${json} -d '{"sku":"tea","quantity":2}'`, "/orders"],
  ["and reads", ben, "/orders/1"],
  ["what he has already is not sent again: 304", `${ben} -H 'If-None-Match: "v1"'`, "/orders/1"],
  ["no such order: 404", ben, "/orders/7"],
  ["a change must say what it changes: 428", `-X PATCH ${ann} ${json} -d '{"status":"packed"}'`, "/orders/1"],
  [
    "ann packs what she has seen",
    `-X PATCH ${ann} ${json} -H 'If-Match: "v1"' -d '{"status":"packed"}'`,
    "/orders/1"
  ],
  [
    "and can't cancel what has changed since: 412",
    `-X PATCH ${ann} ${json} -H 'If-Match: "v1"' -d '{"status":"cancelled"}'`,
    "/orders/1"
  ],
  ["what can't be: 409", `-X PATCH ${ann} ${json} -H 'If-Match: *' -d '{"status":"placed"}'`, "/orders/1"],
  ["the list", ben, "/orders?limit=1"],
  ["events, from the first; curl leaves after a second", `-N -m 1 ${ben} -H "Last-Event-ID: 0"`, "/events"],
  ["a form that another site sends: 403", `-H "Sec-Fetch-Site: cross-site" -d sku=tea`, "/desk/orders"],
  ["the page, and its policy with a nonce", "", "/"],
  ["the contract", "", "/openapi.json"],
  ["ready for requests", "", "/readyz"]
]

/** What the service prints when it is ready. */
export const tries = (url: string, { ann, ben }: Tokens): string =>
  [
    `listening on ${url}; the desk is there, for a browser. To try it with curl, first tell the shell who is who:`,
    `  ANN=${ann}`,
    `  BEN=${ben}`,
    "then",
    ...features.map(([what, options, path]) =>
      `  # ${what}\n  curl -i ${options === "" ? "" : `${options} `}'${url}${path}'`
    ),
    "and stop it with Ctrl-C"
  ].join("\n")
