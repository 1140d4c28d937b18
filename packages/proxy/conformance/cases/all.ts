import type { Case } from "../Case.ts"
import { messages } from "./messages.ts"
import { requestBodies } from "./requestBodies.ts"
import { requestFields } from "./requestFields.ts"
import { responseFields } from "./responseFields.ts"
import { responseFraming } from "./responseFraming.ts"
import { smuggling } from "./smuggling.ts"
import { target } from "./target.ts"
import { upgrade } from "./upgrade.ts"

/** Every case, in the order of the catalogue. */
export const cases: ReadonlyArray<Case> = [
  ...requestFields,
  ...responseFields,
  ...target,
  ...requestBodies,
  ...smuggling,
  ...responseFraming,
  ...messages,
  ...upgrade
]
