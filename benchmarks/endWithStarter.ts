/** Loaded before a program that a benchmark starts: ends it when the benchmark, which holds the other end, is gone. */
process.stdin.on("end", () => process.exit()).on("error", () => process.exit()).resume()
