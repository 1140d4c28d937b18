import * as Autocannon from "./autocannon.ts"
import type { Requests } from "./requests.ts"
import type { Load } from "./workload.ts"
import * as Wrk from "./wrk.ts"

/** Load of such requests: wrk's, or autocannon's where wrk is not installed. */
export const http = (requests: Requests): Load => (Wrk.isInstalled ? Wrk.load : Autocannon.load)(requests)
