"""What Redis runs for `redis_elsewhere.py`, in Lua: telling, expecting, ending, quarantining, and asking for news.

All times are Redis's. Keys begin as those of `redis_scripts.py`, and its `PERMISSIONS` cover what is called here.
"""

from hashlib import sha1
from typing import Final

from authz_server.histories.redis_scripts import GONE_SECONDS, PREFIX, Script

__all__ = [
    "ASK",
    "END",
    "EXPECT",
    "KEPT_SECONDS",
    "LEAVE",
    "MAX_QUARANTINED",
    "NEWS",
    "QUARANTINE",
    "QUARANTINE_KEY",
    "TELL",
    "TOLD_KEY",
    "expected_key",
    "inbox_key",
    "sightings_key",
]

KEPT_SECONDS: Final = 60
"""How long sightings are kept, and calls waited for."""
MAX_QUARANTINED: Final = 10_000
_MAX_SIGHTINGS: Final = 128
"""Sightings of one request id: the client's word may be behind it."""
_MAX_INBOX: Final = 20_000
_MOST_READ: Final = 500
"""Entries of each kind in one answer."""
TOLD_KEY: Final = PREFIX + "told"
"""When each replica last told all it saw."""
QUARANTINE_KEY: Final = PREFIX + "quarantine"


def sightings_key(digest: str) -> str:
    """Name what was seen under a request id, by its digest."""
    return f"{PREFIX}f:{digest}"


def expected_key(name: str) -> str:
    """Name a call that a replica waits for: its decision id, or the digest of its join key."""
    return f"{PREFIX}e:{name}"


def inbox_key(replica: str) -> str:
    """Name what a replica is still to read."""
    return f"{PREFIX}i:{replica}"


_LIMITS: Final = f"""
local KEPT, GONE, PREFIX = {KEPT_SECONDS}, {GONE_SECONDS * 1_000_000}, '{PREFIX}'
local MAX_SIGHTINGS, MAX_INBOX, MAX_QUARANTINED, MOST = {_MAX_SIGHTINGS}, {_MAX_INBOX}, {MAX_QUARANTINED}, {_MOST_READ}
"""
_COMMON: Final = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
"""


def _script(body: str) -> Script:
    text = _LIMITS + _COMMON + body
    return Script(text, sha1(text.encode()).hexdigest())  # noqa: S324, the name that Redis gives it


TELL: Final = _script("""
-- KEYS: requests. ARGV: for each what came under it.
for i = 1, #KEYS do
  if redis.call('SCARD', KEYS[i]) < MAX_SIGHTINGS then redis.call('SADD', KEYS[i], ARGV[i]) end
  redis.call('EXPIRE', KEYS[i], KEPT)
end
return 0
""")
"""Add to what came under request ids."""

ASK: Final = _script("return redis.call('SMEMBERS', KEYS[1])")
"""List what came under a request id."""

EXPECT: Final = _script("""
-- KEYS: calls. ARGV: replica.
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'EX', KEPT) end
return 0
""")
"""Say who waits for how calls end."""

END: Final = _script("""
-- KEYS: calls. ARGV: for each how it ended.
for i = 1, #KEYS do
  local replica = redis.call('GET', KEYS[i])
  if replica then
    local inbox = PREFIX .. 'i:' .. replica
    redis.call('RPUSH', inbox, ARGV[i])
    redis.call('LTRIM', inbox, -MAX_INBOX, -1)
    redis.call('EXPIRE', inbox, KEPT)
    redis.call('DEL', KEYS[i])
  end
end
return 0
""")
"""Tell whoever waits for them how calls ended."""

QUARANTINE: Final = _script("""
-- KEYS: quarantines. ARGV: microseconds, session, why. Those that ended go, from the oldest on, as long as they are few.
local time = now()
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 10)) do
  if tonumber(entry[2][2]) > time then break end
  redis.call('XDEL', KEYS[1], entry[1])
end
local ends = string.format('%.0f', time + tonumber(ARGV[1]))
redis.call('XADD', KEYS[1], 'MAXLEN', MAX_QUARANTINED, '*', 'ends', ends, 'session', ARGV[2], 'why', ARGV[3])
return 0
""")
"""Tell of a quarantine."""

NEWS: Final = _script("""
-- KEYS: told, quarantines, inbox. ARGV: replica; '1' if it has told all it saw; the last quarantine it knows, '-' for none.
-- Returns the microseconds since all had told, what came in, the last quarantine, and of each new one session, microseconds, why.
local time, oldest = now(), 0
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', time))
else
  redis.call('HSETNX', KEYS[1], ARGV[1], string.format('%.0f', time - KEPT * 1000000))
end
local told = redis.call('HGETALL', KEYS[1])
for i = 1, #told, 2 do
  local age = time - tonumber(told[i + 1])
  if age > GONE and told[i] ~= ARGV[1] then
    redis.call('HDEL', KEYS[1], told[i])
  else
    oldest = math.max(oldest, age)
  end
end
local came = redis.call('LRANGE', KEYS[3], 0, MOST - 1)
if #came > 0 then redis.call('LTRIM', KEYS[3], MOST, -1) end
local answer = {oldest, came, ARGV[3]}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[3], '+', 'COUNT', MOST)) do
  local left = tonumber(entry[2][2]) - time
  if entry[1] ~= ARGV[3] and left > 0 then
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = entry[2][4], left, entry[2][6]
  end
  answer[3] = entry[1]
end
return answer
""")
"""Say that a replica has told what it saw, and give it what others told it."""

LEAVE: Final = _script("return redis.call('HDEL', KEYS[1], ARGV[1])")
"""Say that a replica ends, so that nobody waits for what it saw."""
