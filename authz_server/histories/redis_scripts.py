"""What Redis runs for us, in Lua: one script a question, each atomic, so that replicas never see half a step.

A caller's history is one value, MessagePack of [born, watched, next, endpoints, last, steps, counts]: when it began, in
microseconds of Redis's clock; for how long we had been watching then, in milliseconds; the number of its next step; its
endpoints; for each the number of its last step, -1 for none; the steps in order, flat: number, endpoint (counted from 1),
number of the same endpoint's step before; and how often each endpoint was called. It is a `CallerHistory`
(`engine/history.py`), and what undoes a step follows its rules.

How fast callers go is kept beside it (`redis_paces.py`), and a decision that waits for its outcome is MessagePack of [workload,
session, born, number, request, time, address]: which step of whom it is, -1 for none; the digest of its join key; when it came,
0 where its pace isn't counted.

All replicas' histories hang on one mark, MessagePack of [whole, since, evicted, run]: histories born before `whole` have a hole;
callers have been watched since `since`; how many keys Redis had evicted, and which run of it it was, when last looked at.
`replicas` tells when each replica was last heard of.

Time is Redis's own, so that replicas and Envoys whose clocks differ agree on who was silent for how long. A key's expiry is what
forgets a silent caller. Needs Redis 6.0 or Valkey; a user of its own needs `PERMISSIONS`.
"""

from hashlib import sha1
from typing import Final, NamedTuple

from authz_server.engine.history import IDLE_SECONDS, MAX_STEPS
from authz_server.histories.redis_paces import COUNTING

__all__ = [
    "AMEND",
    "BEAT",
    "GONE_SECONDS",
    "JOIN_SECONDS",
    "LEAVE",
    "MARK_KEY",
    "MAX_HISTORY_BYTES",
    "PERMISSIONS",
    "PREFIX",
    "REPLICAS_KEY",
    "SETTLE",
    "SILENT_SECONDS",
    "VISIT",
    "Script",
    "caller_key",
    "decision_key",
    "pace_key",
    "request_key",
]

PREFIX: Final = "{meshwarden:1}:"
"""What our keys begin with: the format's number, so that versions which understand each other share, and others don't. The braces
keep all keys together where a proxy spreads them over several Redises."""
PERMISSIONS: Final = (
    "~{meshwarden:*}:* +get +set +del +exists +expire +time +info +hset +hsetnx +hdel +hgetall +sadd +scard +smembers"
    " +rpush +lrange +ltrim +xadd +xrange +xdel +eval +evalsha +ping +select"
)
"""What ACL SETUSER must allow."""
MARK_KEY: Final = PREFIX + "mark"
REPLICAS_KEY: Final = PREFIX + "replicas"
SILENT_SECONDS: Final = 5
"""A replica that wasn't heard of for so long may be judging without us: what its callers do is missing here."""
GONE_SECONDS: Final = 300
"""After so long it is taken to have ended: by default Kubernetes then replaces the pods of a node that is out of reach."""
JOIN_SECONDS: Final = 60
"""How long a step waits for its outcome, which then counts as success; at most two small keys for each call of that time."""
MAX_HISTORY_BYTES: Final = 32 * 1024
"""A caller's history beyond that begins anew: 48 steps and 800 endpoints of 30 characters take less."""


class Script(NamedTuple):
    """A Lua script, and the name that Redis gives it."""

    text: str
    sha: str


def caller_key(workload: str, session: str) -> str:
    """Name a caller; `session` is a keyed digest already."""
    return f"{PREFIX}c:{workload}:{session}"


def decision_key(decision_id: str) -> str:
    """Name a decision that waits for its outcome."""
    return f"{PREFIX}d:{decision_id}"


def pace_key(kind: str, workload: str, name: str) -> str:
    """Name a caller's counters; `kind` is s, a or w: of a session, an address, or (named empty) of the workload as a whole."""
    return f"{PREFIX}p:{kind}:{workload}:{name}"


def request_key(digest: str) -> str:
    """Name a call by the digest of its join key, which is the client's word and may be long."""
    return f"{PREFIX}r:{digest}"


_LIMITS: Final = f"""
local IDLE, JOIN, MAX_STEPS, MAX_BYTES = {IDLE_SECONDS:.0f}, {JOIN_SECONDS}, {MAX_STEPS}, {MAX_HISTORY_BYTES}
local SILENT, GONE = {SILENT_SECONDS}, {GONE_SECONDS}
local PREFIX = '{PREFIX}'
"""
_COMMON: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function told(section, name)
  return string.match(redis.call('INFO', section), name .. ':(%w+)') or ''
end
local function begin_anew()
  local time = now()
  local mark = {time, time, told('stats', 'evicted_keys'), told('server', 'run_id')}
  redis.call('SET', KEYS[1], cmsgpack.pack(mark))
  return mark
end
local function load_mark()
  local packed = redis.call('GET', KEYS[1])
  if packed then return cmsgpack.unpack(packed) end
  return begin_anew()
end
"""


def _script(body: str) -> Script:
    text = _LIMITS + _COMMON + body
    return Script(text, sha1(text.encode()).hexdigest())  # noqa: S324, the name that Redis gives it


VISIT: Final = _script(
    COUNTING
    + """
-- KEYS: mark, decision; the others, which begin alike, follow from ARGV: workload, session, address, endpoint, request digest,
-- decision id, cost, bits, microseconds after a hole in which nobody is judged. Empty: there is none; no endpoint: no step; no
-- cost: no pace is counted. Returns the history as it was before, false after a hole and where there is no session, and the paces
-- of session, address and workload.
local time = now()
local workload, session, address, endpoint, request, cost, bits = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[7], ARGV[8]
local known, born, number = false, 0, -1
if session ~= '' then
  local caller = PREFIX .. 'c:' .. workload .. ':' .. session
  local mark = load_mark()
  local before = redis.call('GET', caller)
  local past = before and #before <= MAX_BYTES and cmsgpack.unpack(before)
  if not past or past[1] < mark[1] then
    local watched = 0
    if not before then
      -- A caller that was evicted looks like a new one; eviction happens before a script runs, so this sees it.
      local evicted = told('stats', 'evicted_keys')
      if evicted ~= mark[3] then
        mark[2], mark[3] = time, evicted
        redis.call('SET', KEYS[1], cmsgpack.pack(mark))
      end
      watched = math.max(0, math.floor((time - mark[2]) / 1000))
    end
    past = {time, watched, 0, {}, {}, {}, {}}
    before = cmsgpack.pack(past)
  end
  known, born = time - mark[1] >= tonumber(ARGV[9]) and before, past[1]
  if endpoint == '' then
    redis.call('SET', caller, before, 'EX', IDLE)
  else
    local names, last, steps, counts = past[4], past[5], past[6], past[7]
    local name
    for i = 1, #names do
      if names[i] == endpoint then name = i break end
    end
    if not name then
      name = #names + 1
      names[name], last[name], counts[name] = endpoint, -1, 0
    end
    number = past[3]
    local size = #steps
    steps[size + 1], steps[size + 2], steps[size + 3] = number, name, last[name]
    last[name] = number
    counts[name] = counts[name] + 1
    past[3] = number + 1
    if size + 3 > 3 * MAX_STEPS then
      local kept = {}
      for i = size + 4 - 3 * MAX_STEPS, size + 3 do kept[#kept + 1] = steps[i] end
      past[6] = kept
    end
    redis.call('SET', caller, cmsgpack.pack(past), 'EX', IDLE)
  end
end
cost = tonumber(cost)
if number >= 0 or cost then
  redis.call('SET', KEYS[2], cmsgpack.pack({workload, session, born, number, request, cost and time or 0, address}), 'EX', JOIN)
  if request ~= '' then redis.call('SET', PREFIX .. 'r:' .. request, ARGV[6], 'EX', JOIN) end
end
if not cost then return {known, '', '', ''} end
return {
  known,
  session ~= '' and count(pace_key('s', workload, session), time, cost, bits) or '',
  address ~= '' and count(pace_key('a', workload, address), time, cost, bits) or '',
  count(pace_key('w', workload, ''), time, cost, bits),
}
"""
)
"""Count a call as its caller's next step, and tell what came before it, and how fast session, address and workload go."""

SETTLE: Final = _script(
    COUNTING
    + """
-- KEYS: mark, then the decision or the request. ARGV: 'd' or 'r', which of the two; 'stays', 'fail' or 'refuse'.
-- Returns 1 if a decision had waited for that.
local key = KEYS[2]
if ARGV[1] == 'r' then
  local id = redis.call('GET', key)
  if not id then return 0 end
  key = PREFIX .. 'd:' .. id
end
local waiting = redis.call('GET', key)
if not waiting then return 0 end
redis.call('DEL', key)
local workload, session, born, number, request, time, address = unpack(cmsgpack.unpack(waiting))
-- A later call may have come under the same request id.
if request ~= '' and PREFIX .. 'd:' .. (redis.call('GET', PREFIX .. 'r:' .. request) or '') == key then
  redis.call('DEL', PREFIX .. 'r:' .. request)
end
if ARGV[2] == 'stays' then return 1 end
if time > 0 then
  if session ~= '' then change(pace_key('s', workload, session), ARGV[2], time) end
  if address ~= '' then change(pace_key('a', workload, address), ARGV[2], time) end
  if ARGV[2] == 'fail' then change(pace_key('w', workload, ''), ARGV[2], time) end
end
local caller = PREFIX .. 'c:' .. workload .. ':' .. session
local packed = number >= 0 and redis.call('GET', caller)
if not packed then return 1 end
local past = cmsgpack.unpack(packed)
if past[1] ~= born then return 1 end
local last, steps, counts, kept = past[5], past[6], past[7], {}
local name, earlier
for i = 1, #steps, 3 do
  if steps[i] == number then
    name, earlier = steps[i + 1], steps[i + 2]
  else
    kept[#kept + 1], kept[#kept + 2], kept[#kept + 3] = steps[i], steps[i + 1], steps[i + 2]
  end
end
if not name then return 1 end
local linked = false
for i = 1, #kept, 3 do
  if kept[i + 1] == name and kept[i + 2] == number then
    kept[i + 2], linked = earlier, true
  end
end
counts[name] = counts[name] - 1
if not linked then
  last[name] = earlier
  if earlier < 0 then counts[name] = 0 end
end
past[6] = kept
redis.call('SET', caller, cmsgpack.pack(past), 'KEEPTTL')
return 1
"""
)
"""Take note of how a call ended: its step stays, or is taken back, and an error or a refusal counts for its pace."""

AMEND: Final = _script("""
-- KEYS: mark, caller, decision. A call was made whose visit may not have got here; unless it did, a step is missing.
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('SET', KEYS[2], cmsgpack.pack({now(), 0, 0, {}, {}, {}, {}}), 'EX', IDLE)
return 1
""")
"""Begin a caller's history anew, incomplete, because a step of it is missing."""

BEAT: Final = _script("""
-- KEYS: mark, replicas. ARGV: replica; '1' if it made calls that it can't name; '1' if it begins, or comes back.
-- Returns 1 if histories have a hole: this Redis isn't the one that last ran and may have lost data, or a replica is on its own.
local mark, time = load_mark(), now() / 1000000
local hole = ARGV[2] == '1' or told('server', 'run_id') ~= mark[4]
local replicas = redis.call('HGETALL', KEYS[2])
for i = 1, #replicas, 2 do
  local silence = time - tonumber(replicas[i + 1])
  if replicas[i] ~= ARGV[1] and silence > GONE then
    redis.call('HDEL', KEYS[2], replicas[i])
  elseif silence > SILENT and (replicas[i] ~= ARGV[1] or ARGV[3] == '1') then
    hole = true
  end
end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.3f', time))
if hole then begin_anew() end
return hole and 1 or 0
""")
"""Say that a replica is there, and begin all histories anew, incomplete, where steps are missing that nobody can name."""

LEAVE: Final = _script("return redis.call('HDEL', KEYS[2], ARGV[1])")
"""Say that a replica ends. KEYS: mark, replicas. ARGV: replica."""
