import type { Case } from "../Case.ts"
import { aborts } from "./aborts.ts"
import { identity } from "./identity.ts"
import { interim } from "./interim.ts"
import { limits } from "./limits.ts"
import { messages } from "./messages.ts"
import { pool } from "./pool.ts"
import { requestBodies } from "./requestBodies.ts"
import { requestFields } from "./requestFields.ts"
import { responseFields } from "./responseFields.ts"
import { responseFraming } from "./responseFraming.ts"
import { smuggling } from "./smuggling.ts"
import { streaming } from "./streaming.ts"
import { target } from "./target.ts"
import { trailers } from "./trailers.ts"
import { upgrade } from "./upgrade.ts"

/** Every case, in the order of the catalogue. */
export const cases: ReadonlyArray<Case> = [
  ...requestFields,
  ...responseFields,
  ...identity,
  ...target,
  ...requestBodies,
  ...smuggling,
  ...responseFraming,
  ...messages,
  ...aborts,
  ...interim,
  ...trailers,
  ...upgrade,
  ...streaming,
  ...pool,
  ...limits
]
