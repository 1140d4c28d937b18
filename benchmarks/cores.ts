/** Which core does what, where there is `taskset` and more than one: the subject has one, all that serves it another. */
import { cpus } from "node:os"
import { isInstalled } from "./programs.ts"

export const pins = isInstalled("taskset") && cpus().length > 1

const onCore = (core: number): ReadonlyArray<string> => pins ? ["taskset", "-c", String(core)] : []

/** What runs the load and the upstream. */
export const loadCore = onCore(0)

/** What runs the subject. */
export const testedCore = onCore(1)
