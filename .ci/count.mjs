// Adds up the report of the tests and the output of the checks. A run that failed always counts as a failure, also
// when it ended before it could report one.
import { existsSync, readFileSync } from "node:fs"

const [report, testsExit, log, checkExit] = process.argv.slice(2)

const tests = () => {
  if (!existsSync(report)) return { passed: 0, failed: 0 }
  const { numFailedTests, numPassedTests, testResults } = JSON.parse(readFileSync(report, "utf8"))
  const broken = testResults.filter(({ assertionResults, status }) =>
    status === "failed" && !assertionResults.some((result) => result.status === "failed")
  )
  return { passed: numPassedTests, failed: numFailedTests + broken.length }
}

const check = () => {
  const [, passed = 0, failed = 0] = /^(\d+) passed, (\d+) failed$/m.exec(readFileSync(log, "utf8")) ?? []
  return { passed: Number(passed), failed: Number(failed) }
}

const withExit = ({ failed, passed }, exit) => ({ passed, failed: failed === 0 && exit !== "0" ? 1 : failed })

const runs = [withExit(tests(), testsExit), withExit(check(), checkExit)]
const passed = runs.reduce((sum, run) => sum + run.passed, 0)
// A run in which nothing passed did not do its work.
const failed = runs.reduce((sum, run) => sum + (run.passed === 0 ? Math.max(run.failed, 1) : run.failed), 0)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
