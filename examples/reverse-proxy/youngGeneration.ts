import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8"

/** What V8 has after the start: two halves of 16 MiB. */
const usual = 2 * 16 * 2 ** 20

const size = (): number =>
  getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space")?.space_size ?? 0

/**
 * Keeps V8's young generation at the size that it has after the start. What a proxy allocates dies young, but V8 would answer
 * gigabytes of bodies with 20 MB more of it; and after a pause it makes it sixteen times smaller, which takes it a collection
 * for every megabyte until it has grown again.
 */
export const keepYoungGeneration = (): void => {
  const look = () => setFlagsFromString(`--semi-space-growth-factor=${size() < usual ? 2 : 1}`)
  look()
  setInterval(look, 1000).unref()
}
