import type { Workload } from "./workload.ts"
import { proxying } from "./workloads/proxying.ts"
import { serving } from "./workloads/serving.ts"

/** All that `pnpm bench` measures, by the name that chooses it. */
export const workloads: Readonly<Record<string, Workload>> = {
  ...proxying,
  ...serving
}
