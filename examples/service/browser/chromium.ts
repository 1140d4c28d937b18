/** A headless Chromium that is installed on this machine; nothing is downloaded. */
import { Effect } from "effect"
import { existsSync } from "node:fs"
import { type Browser, chromium } from "playwright-core"

const usual = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome-stable",
  "/usr/bin/google-chrome"
]

export const findChromium = (named: string | undefined): string | undefined =>
  (named === undefined ? usual : [named]).find((path) => existsSync(path))

/** Other names than this machine's are not found, so that nothing leaves it. */
const args = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"]

export const launch = (executablePath: string) =>
  Effect.acquireRelease(
    Effect.promise(() => chromium.launch({ executablePath, args })),
    (browser) => Effect.promise(() => browser.close())
  )

/** A page that nobody has used: no cookies, no cache. */
export const freshPage = (browser: Browser) =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.promise(() => browser.newContext()),
      (context) => Effect.promise(() => context.close())
    ),
    (context) => Effect.promise(() => context.newPage())
  )
