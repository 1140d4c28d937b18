import * as Redis from "effect/persistence/Redis"
import type { Charge } from "../RateLimitStore.ts"

/**
 * Takes all charges or none, in one step. The time is Redis's own unless one is given: machines whose clocks differ share
 * one. Nothing is written for a request that is refused. Four strings come back for each charge: whether there was room, and
 * the numbers of its balance.
 */
const lua = `
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call("TIME")
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local charges = {}
local all = true
for i = 1, #KEYS do
  local at = (i - 1) * 4 + 2
  local c = {
    fixed = ARGV[at] == "fixed-window",
    quota = tonumber(ARGV[at + 1]),
    window = tonumber(ARGV[at + 2]),
    cost = tonumber(ARGV[at + 3]),
    used = 0,
    at = now
  }
  local kept = redis.call("GET", KEYS[i])
  local used, since = string.match(kept or "", "^(%S+) (%S+)$")
  if used then
    used, since = tonumber(used), tonumber(since)
    local passed = math.max(0, now - since)
    if not c.fixed then
      c.used = math.max(0, used - passed * c.quota / c.window)
    elseif passed < c.window then
      c.used = used
      c.at = math.min(since, now)
    end
  end
  c.room = c.used + c.cost <= c.quota + 1e-9
  all = all and c.room
  charges[i] = c
end

local function text(number)
  return string.format("%.17g", number)
end

local answer = {}
for i, c in ipairs(charges) do
  if all and c.cost > 0 then
    c.used = c.used + c.cost
    local life = c.fixed and c.at + c.window - now or c.used * c.window / c.quota
    redis.call("SET", KEYS[i], text(c.used) .. " " .. text(c.at), "PX", string.format("%.0f", math.max(1, math.ceil(life))))
  end
  local remaining = math.max(0, math.floor(c.quota - c.used + 1e-9))
  local reset, retry = 0, 0
  if c.fixed then
    reset = c.at + c.window - now
    retry = reset
  else
    if remaining < c.quota then
      reset = math.max(0, (c.used - (c.quota - remaining - 1)) * c.window / c.quota)
    end
    retry = math.max(0, (c.used + c.cost - c.quota) * c.window / c.quota)
  end
  answer[#answer + 1] = c.room and "1" or "0"
  answer[#answer + 1] = text(remaining)
  answer[#answer + 1] = text(reset)
  answer[#answer + 1] = text(c.room and 0 or retry)
end
return answer
`

/** The script, for keys that have their prefix already. */
export const script = Redis.script(
  (prefix: string, now: number | undefined, charges: ReadonlyArray<Charge>) => [
    ...charges.map(({ algorithm, key }) => `${prefix}${algorithm}:${key}`),
    now ?? "",
    ...charges.flatMap(({ algorithm, cost, quota, window }) => [algorithm, quota, window, cost])
  ],
  { lua, numberOfKeys: (_prefix, _now, charges) => charges.length }
).withReturnType<ReadonlyArray<string>>()
