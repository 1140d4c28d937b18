import { describe, expect, it } from "@effect/vitest"
import * as ContentSecurityPolicy from "../src/ContentSecurityPolicy.ts"
import { refused } from "./kit.ts"

describe("ContentSecurityPolicy", () => {
  it("writes every kind of directive", () => {
    expect(ContentSecurityPolicy.format({
      "default-src": ["'none'"],
      "script-src": ["'nonce'", "'strict-dynamic'", "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"],
      "img-src": ["'self'", "data:", "https://*.example.com:8443/a/b", "*.cdn.test", "localhost:*", "wss://a.test"],
      "frame-ancestors": ["*"],
      sandbox: [],
      "trusted-types": ["a#b", "'allow-duplicates'"],
      "require-trusted-types-for": ["'script'"],
      "report-uri": ["/csp?x=1"],
      "report-to": "main",
      "upgrade-insecure-requests": true
    })).toBe(
      "default-src 'none'; " +
        "script-src 'nonce' 'strict-dynamic' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; " +
        "img-src 'self' data: https://*.example.com:8443/a/b *.cdn.test localhost:* wss://a.test; " +
        "frame-ancestors *; sandbox; trusted-types a#b 'allow-duplicates'; require-trusted-types-for 'script'; " +
        "report-uri /csp?x=1; report-to main; upgrade-insecure-requests"
    )
    expect(ContentSecurityPolicy.format({ sandbox: ["allow-forms", "allow-scripts"] })).toBe(
      "sandbox allow-forms allow-scripts"
    )
  })

  it("refuses what browsers would ignore, and names the directive", () => {
    for (
      const source of [
        "self",
        "none",
        "unsafe-inline",
        "NONCE-abc",
        "sha256-abc",
        "'nonce-abc'",
        "'sefl'",
        "'sha256-'",
        "",
        "a b",
        "a;script-src *",
        "a,b",
        "https://a.test/a;b",
        "https://a.test/a,b",
        "*a.test",
        "a.*.test",
        "a\r\nb",
        "'self"
      ]
    ) {
      expect([source, refused(() => ContentSecurityPolicy.format({ "script-src": [source] }))]).toEqual([
        source,
        expect.stringContaining(`RangeError: script-src must not have ${JSON.stringify(source)}`)
      ])
    }
    expect(refused(() => ContentSecurityPolicy.format({ "img-src": ["self"] }))).toContain("as in 'self'")
    for (
      const policy of [
        {},
        { "img-src": [] },
        { "img-src": ["'none'", "a.test"] },
        { "img-src": ["'unsafe-inline'"] },
        { "img-src": ["'nonce'"] },
        { "frame-ancestors": ["'strict-dynamic'"] },
        { "report-to": "a b" },
        { "report-uri": ["/a b"] },
        { sandbox: ["scripts"] },
        { "upgrade-insecure-requests": false },
        { "srcipt-src": ["'self'"] },
        { constructor: ["'self'"] }
      ]
    ) {
      // Sound: the compiler refuses most of these, too.
      const format = () => ContentSecurityPolicy.format(policy as ContentSecurityPolicy.ContentSecurityPolicy)
      expect([policy, refused(format)]).toEqual([policy, expect.stringContaining("RangeError: ")])
    }
  })
})
