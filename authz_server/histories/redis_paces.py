"""How fast callers go, counted in Redis for all replicas: the Lua that counts, and what it answers -> Paces.

The rules are those of `CallerPace` (`engine/pace.py`), with Redis's clock in microseconds. A caller's counters are one value,
MessagePack of [first, last; calls and cost in this 10 s and in this 60 s; errors, endpoints and values in this 600 s; the same of
the bucket before: two, two and three numbers; endpoints' bits, values' bits]. Which bits are set is kept as a string of them, a
byte each: a caller that came once takes two bytes instead of two bitmaps. When a bucket began follows from `last`.
"""

from struct import Struct
from typing import Final

from authz_server.engine.pace import BITS, IDLE_SECONDS, LONG, MINUTE, NO_COUNTS, SHORT, Counts, Footprint, Paces

__all__ = ["COUNTING", "to_arguments", "to_paces"]

_PREFIX: Final = "{meshwarden:1}:p:"

_WINDOWS: Final = f"""
local SHORT, MINUTE, LONG = {SHORT * 1e6:.0f}, {MINUTE * 1e6:.0f}, {LONG * 1e6:.0f}
local SILENCE, BITS = {IDLE_SECONDS * 1e6:.0f}, {BITS}
local function pace_key(kind, workload, name) return '{_PREFIX}' .. kind .. ':' .. workload .. ':' .. name end
"""
_FUNCTIONS: Final = """
local function set(pace, number, bits, bit)
  local known = pace[bits]
  if not string.find(known, bit, 1, true) then
    pace[number] = pace[number] + BITS / (BITS - #known)
    pace[bits] = known .. bit
  end
end
local function turn(pace, last, start, window, first, count, before)
  if last >= start then return false end
  local near = last >= start - window
  for i = 0, count - 1 do
    pace[before + i] = near and pace[first + i] or 0
    pace[first + i] = 0
  end
  return true
end
local function count(key, time, cost, bits)
  local packed = redis.call('GET', key)
  local pace = packed and cmsgpack.unpack(packed) or {time, time, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', ''}
  local last = pace[2]
  if time < last then time = last end
  local short, minute, long = time - time % SHORT, time - time % MINUTE, time - time % LONG
  local turned = not packed or last < short
  if turn(pace, last, short, SHORT, 3, 2, 10) then
    if time - last > SILENCE then pace[1] = time end
    if turn(pace, last, minute, MINUTE, 5, 2, 12) and turn(pace, last, long, LONG, 7, 3, 14) then
      pace[17], pace[18] = '', ''
    end
  end
  pace[2] = time
  pace[3], pace[4], pace[5], pace[6] = pace[3] + 1, pace[4] + cost, pace[5] + 1, pace[6] + cost
  set(pace, 8, 17, string.sub(bits, 1, 1))
  for i = 2, #bits do set(pace, 9, 18, string.sub(bits, i, i)) end
  if turned then
    redis.call('SET', key, cmsgpack.pack(pace), 'EX', IDLE + SHORT / 1000000)
  else
    redis.call('SET', key, cmsgpack.pack(pace), 'KEEPTTL')  -- cheaper
  end
  local a, b, c = 1 - (time - short) / SHORT, 1 - (time - minute) / MINUTE, 1 - (time - long) / LONG
  return struct.pack('<dddddddd', (time - pace[1]) / 1000000, pace[3] + pace[10] * a, pace[4] + pace[11] * a,
    pace[5] + pace[12] * b, pace[6] + pace[13] * b, pace[7] + pace[14] * c, pace[8] + pace[15] * c, pace[9] + pace[16] * c)
end
local function change(key, act, time)
  local packed = redis.call('GET', key)
  if not packed then return end
  local pace = cmsgpack.unpack(packed)
  local long = pace[2] - pace[2] % LONG
  if act == 'refuse' then
    pace[1] = time
  elseif time >= long then
    pace[7] = pace[7] + 1
  elseif time >= long - LONG then
    pace[14] = pace[14] + 1
  end
  redis.call('SET', key, cmsgpack.pack(pace), 'KEEPTTL')
end
"""
COUNTING: Final = _WINDOWS + _FUNCTIONS
"""`count` counts a call and returns eight numbers: the caller's age, and the counts. `change` counts an error of the call that
came at `time`, or takes note that it was refused. Needs `IDLE`, the seconds after which a silent caller is forgotten."""

_EIGHT: Final = Struct("<8d")


def to_arguments(footprint: Footprint | None) -> tuple[str, bytes]:
    """Spell a Footprint for the script: its cost, empty where nothing is counted, and its bits, the endpoint's first."""
    if footprint is None:
        return "", b""
    return repr(footprint.cost), bytes((footprint.endpoint, *footprint.values))


def to_paces(session: bytes, address: bytes, workload: bytes) -> Paces:
    """Read what the script counted; empty where it counted nothing."""
    return Paces(_to_counts(session), _to_counts(address), _to_counts(workload))


def _to_counts(packed: bytes) -> Counts:
    if not packed:
        return NO_COUNTS
    age, *counts = _EIGHT.unpack(packed)
    return Counts(age, tuple(counts))
