"""What Redis runs for us, in Lua: one script a question, each atomic, so that replicas never see half a step.

A caller's history is one value, little-endian: `HEAD`, which is when it began, in microseconds of Redis's clock; for how long we
had been watching then, in milliseconds; the number of its next step; how many steps and how many endpoints follow. Then the
steps in order, `STEP` each: number, endpoint (counted from 0), one more than the number of the same endpoint's step before, 0 for
none. Then for each endpoint `LAST`: one more than the number of its last step, 0 for none, and how often it was called. Then the
endpoints' names, each after a byte 255 and before a byte 254, which UTF-8 has not, and its index in two digits of 7 bits: so a
name is found without reading the others, and a visit copies the value in a few pieces. It is a `CallerHistory`
(`engine/history.py`), and what undoes a step follows its rules.

How fast callers go is kept beside it (`redis_paces.py`), and a decision that waits for its outcome is three numbers: born, when
it came, 0 where its pace isn't counted, and the number of the step, -1 for none; then, with a byte 255 between, workload,
session, address and the digest of its join key.

All replicas' histories hang on one mark, two numbers and two words: histories born before the first, `whole`, have a hole;
callers have been watched since the second; how many keys Redis had evicted, and which run of it it was, when last looked at.
`replicas` tells when each replica was last heard of.

Time is Redis's own, so that replicas and Envoys whose clocks differ agree on who was silent for how long. A key's expiry is what
forgets a silent caller. Needs Redis 6.0 or Valkey, not a cluster of either; a user of its own needs `PERMISSIONS`.
"""

from hashlib import sha1
from struct import calcsize
from typing import Final, NamedTuple

from authz_server.engine.history import IDLE_SECONDS, MAX_STEPS
from authz_server.histories.redis_paces import CHANGING, COUNTING

__all__ = [
    "AMEND",
    "BEAT",
    "GONE_SECONDS",
    "HEAD",
    "JOIN_SECONDS",
    "LAST",
    "LEAVE",
    "MARK_KEY",
    "MAX_HISTORY_BYTES",
    "PERMISSIONS",
    "PREFIX",
    "REPLICAS_KEY",
    "SETTLE",
    "SILENT_SECONDS",
    "STEP",
    "VISIT",
    "Script",
    "caller_key",
    "decision_key",
    "pace_key",
    "request_key",
]

PREFIX: Final = "{meshwarden:2}:"
"""What our keys begin with: the format's number, so that versions which understand each other share, and others don't. The braces
keep all keys together where a proxy spreads them over several Redises."""
PERMISSIONS: Final = (
    "~{meshwarden:*}:* +get +mget +set +del +exists +expire +time +info +hset +hsetnx +hdel +hgetall +sadd +scard +smembers"
    " +rpush +lrange +ltrim +xadd +xrange +xdel +eval +evalsha +ping +select"
)
"""What ACL SETUSER must allow."""
HEAD: Final = "<dIIBH"
STEP: Final = "<IHI"
LAST: Final = "<II"
"""As the package `struct` spells them; Lua's calls 4 bytes I4."""
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
_MOST: Final = 2**31
"""What a number of 4 bytes may grow to: a history of so many steps begins anew."""


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
local SILENT, GONE, MOST = {SILENT_SECONDS}, {GONE_SECONDS}, {_MOST}
local PREFIX = '{PREFIX}'
local HEAD, STEP, LAST, WAITING = '{HEAD.replace("I", "I4")}', '{STEP.replace("I", "I4")}', '{LAST.replace("I", "I4")}', '<ddi4'
local HEAD_SIZE, STEP_SIZE, LAST_SIZE = {calcsize(HEAD)}, {calcsize(STEP)}, {calcsize(LAST)}
"""
_COMMON: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function told(section, name)
  return string.match(redis.call('INFO', section), name .. ':(%w+)') or ''
end
local function write_mark(whole, since, evicted, run)
  redis.call('SET', KEYS[1], struct.pack('<dd', whole, since) .. evicted .. ' ' .. run)
end
local function begin_anew()
  local time = now()
  write_mark(time, time, told('stats', 'evicted_keys'), told('server', 'run_id'))
  return time, time
end
local function read_mark(packed)
  if not packed then return begin_anew() end
  local whole, since = struct.unpack('<dd', packed)
  return whole, since, string.match(packed, '^(%w*) (%w*)$', 17)
end
local function empty(born, watched) return struct.pack(HEAD, born, watched, 0, 0, 0) end
"""


def _script(body: str) -> Script:
    text = _LIMITS + _COMMON + body
    return Script(text, sha1(text.encode()).hexdigest())  # noqa: S324, the name that Redis gives it


VISIT: Final = _script(
    COUNTING
    + r"""
-- KEYS: mark, decision; the others, which begin alike, follow from ARGV: workload, session, address, endpoint, request digest,
-- decision id, cost, bits, microseconds after a hole in which nobody is judged. Empty: there is none; no endpoint: no step; no
-- cost: no pace is counted. Returns the history as it was before, false after a hole and where there is no session, and the paces
-- of session, address and workload.
local time = now()
local workload, session, address, endpoint, request, cost, bits = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[7], ARGV[8]
cost = tonumber(cost)
local caller = PREFIX .. 'c:' .. workload .. ':' .. session
local at_session, at_address, at_workload, packed, mark, before
if cost then
  at_session, at_address = pace_key('s', workload, session), pace_key('a', workload, address)
  at_workload = pace_key('w', workload, '')
  packed = redis.call('MGET', KEYS[1], caller, at_session, at_address, at_workload)
else
  packed = redis.call('MGET', KEYS[1], caller)
end
mark, before = packed[1], packed[2]
local known, born, number = false, 0, -1
if session ~= '' then
  local whole, since, evicted, run = read_mark(mark)
  local watched, next, steps, endpoints = 0, 0, 0, 0
  if before and #before <= MAX_BYTES then born, watched, next, steps, endpoints = struct.unpack(HEAD, before) end
  if born < whole or born == 0 or next >= MOST then
    born, watched, next, steps, endpoints = time, 0, 0, 0, 0
    if not before then
      -- A caller that was evicted looks like a new one; eviction happens before a script runs, so this sees it.
      local now_evicted = told('stats', 'evicted_keys')
      if evicted and now_evicted ~= evicted then
        since = time
        write_mark(whole, since, now_evicted, run)
      end
      watched = math.min(MOST, math.max(0, math.floor((time - since) / 1000)))
    end
    before = empty(born, watched)
  end
  known = time - whole >= tonumber(ARGV[9]) and before
  local after = before
  if endpoint ~= '' then
    number = next
    local first = steps == MAX_STEPS and HEAD_SIZE + STEP_SIZE + 1 or HEAD_SIZE + 1
    local lasts = HEAD_SIZE + STEP_SIZE * steps + 1
    local names = lasts + LAST_SIZE * endpoints
    local _, found = string.find(before, '\255' .. endpoint .. '\254', names, true)
    if found then
      local high, low = string.byte(before, found + 1, found + 2)
      local index = high * 128 + low
      local place = lasts + LAST_SIZE * index
      local last, count = struct.unpack(LAST, before, place)
      after = string.sub(before, first, lasts - 1) .. struct.pack(STEP, number, index, last)
        .. string.sub(before, lasts, place - 1)
        .. struct.pack(LAST, number + 1, count + 1) .. string.sub(before, place + LAST_SIZE)
    else
      after = string.sub(before, first, lasts - 1) .. struct.pack(STEP, number, endpoints, 0)
        .. string.sub(before, lasts, names - 1)
        .. struct.pack(LAST, number + 1, 1) .. string.sub(before, names)
        .. '\255' .. endpoint .. '\254' .. string.char(math.floor(endpoints / 128), endpoints % 128)
      endpoints = endpoints + 1
    end
    after = struct.pack(HEAD, born, watched, next + 1, math.min(steps + 1, MAX_STEPS), endpoints) .. after
  end
  redis.call('SET', caller, after, 'EX', IDLE)
end
if number >= 0 or cost then
  local waiting = struct.pack(WAITING, born, cost and time or 0, number)
    .. workload .. '\255' .. session .. '\255' .. address .. '\255' .. request
  redis.call('SET', KEYS[2], waiting, 'EX', JOIN)
  if request ~= '' then redis.call('SET', PREFIX .. 'r:' .. request, ARGV[6], 'EX', JOIN) end
end
if not cost then return {known, '', '', ''} end
return {
  known,
  session ~= '' and count(at_session, packed[3], time, cost, bits) or '',
  address ~= '' and count(at_address, packed[4], time, cost, bits) or '',
  count(at_workload, packed[5], time, cost, bits),
}
"""
)
"""Count a call as its caller's next step, and tell what came before it, and how fast session, address and workload go."""

SETTLE: Final = _script(
    CHANGING
    + r"""
-- KEYS: mark, then the decision or the request. ARGV: 'd' or 'r', which of the two; 'stays', 'fail' or 'refuse'; the cost that
-- the workload is relieved of, empty: none.
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
local born, time, number, at = struct.unpack(WAITING, waiting)
local workload, session, address, request = string.match(waiting, '^([^\255]*)\255([^\255]*)\255([^\255]*)\255(.*)$', at)
-- A later call may have come under the same request id.
if request ~= '' and PREFIX .. 'd:' .. (redis.call('GET', PREFIX .. 'r:' .. request) or '') == key then
  redis.call('DEL', PREFIX .. 'r:' .. request)
end
if ARGV[2] == 'stays' then return 1 end
if time > 0 then
  if session ~= '' then change(pace_key('s', workload, session), ARGV[2], time) end
  if address ~= '' then change(pace_key('a', workload, address), ARGV[2], time) end
  if ARGV[2] == 'fail' then change(pace_key('w', workload, ''), ARGV[2], time) end
  if tonumber(ARGV[3]) then change(pace_key('w', workload, ''), 'relieve', time, tonumber(ARGV[3])) end
end
local caller = PREFIX .. 'c:' .. workload .. ':' .. session
local packed = number >= 0 and redis.call('GET', caller)
if not packed then return 1 end
local began, watched, next, steps, endpoints = struct.unpack(HEAD, packed)
if began ~= born then return 1 end
local lasts, kept, name, earlier, oldest = HEAD_SIZE + STEP_SIZE * steps + 1, {}
for at = HEAD_SIZE + 1, lasts - 1, STEP_SIZE do
  local step, endpoint, linked = struct.unpack(STEP, packed, at)
  oldest = oldest or step
  if step == number then
    name, earlier = endpoint, linked
  else
    kept[#kept + 1] = {step, endpoint, linked}
  end
end
local calls = {}
for index = 0, endpoints - 1 do
  local last, count = struct.unpack(LAST, packed, lasts + LAST_SIZE * index)
  calls[index] = {last, count}
  if not name and last == number + 1 then
    -- When the one before it was isn't known any more, only that it is older than what is remembered.
    name, earlier = index, count > 1 and oldest and math.max(0, oldest - 1) + 1 or 0
  end
end
if not name then return 1 end
local linked = false
for i, step in ipairs(kept) do
  if step[2] == name and step[3] == number + 1 then step[3], linked = earlier, true end
  kept[i] = struct.pack(STEP, step[1], step[2], step[3])
end
local call = calls[name]
call[2] = call[2] - 1
if not linked then
  call[1] = earlier
  if earlier == 0 then call[2] = 0 end
end
for index = 0, endpoints - 1 do kept[#kept + 1] = struct.pack(LAST, calls[index][1], calls[index][2]) end
local left = struct.pack(HEAD, born, watched, next, #kept - endpoints, endpoints)
redis.call('SET', caller, left .. table.concat(kept) .. string.sub(packed, lasts + LAST_SIZE * endpoints), 'KEEPTTL')
return 1
"""
)
"""Take note of how a call ended: its step stays, or is taken back, and an error or a refusal counts for its pace."""

AMEND: Final = _script("""
-- KEYS: mark, caller, decision. A call was made whose visit may not have got here; unless it did, a step is missing.
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('SET', KEYS[2], empty(now(), 0), 'EX', IDLE)
return 1
""")
"""Begin a caller's history anew, incomplete, because a step of it is missing."""

BEAT: Final = _script("""
-- KEYS: mark, replicas. ARGV: replica; '1' if it made calls that it can't name; '1' if it begins, or comes back.
-- Returns 1 if histories have a hole: this Redis isn't the one that last ran and may have lost data, or a replica is on its own.
local time = now() / 1000000
local _, _, _, run = read_mark(redis.call('GET', KEYS[1]))
local hole = ARGV[2] == '1' or run and run ~= told('server', 'run_id')
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
