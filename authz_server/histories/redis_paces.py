"""How fast callers go, counted in Redis for all replicas: the Lua that counts, and what it answers -> Paces.

The rules are those of `CallerPace` (`engine/pace.py`), with Redis's clock in microseconds. A caller's counters are one value,
little-endian: `_NOW`, which is 1 where the buckets before follow, else 0; first, last; calls and cost in this 10 s and in this
60 s; errors in this 600 s; how many endpoints' bits are set. Then `_BEFORE`, the same of the buckets before, and how many bits
for values were set. Then which bits are set, a byte each, endpoints' first: a caller that came once takes two bytes instead of
two bitmaps. When a bucket began follows from `last`, and how many distinct things so many bits stand for is the reader's to say.
"""

from struct import Struct
from typing import Final

from authz_server.engine.pace import DISTINCT, IDLE_SECONDS, LONG, MINUTE, NO_COUNTS, SHORT, Counts, Footprint, Paces

__all__ = ["CHANGING", "COUNTING", "to_arguments", "to_paces"]

_NOW: Final = Struct("<BddIdIdIH")
_BEFORE: Final = Struct("<IdIdIHH")
_SIZES: Final = (_NOW.size, _NOW.size + _BEFORE.size)
"""Of the numbers, without and with the buckets before."""
_SHORT_US, _MINUTE_US, _LONG_US = SHORT * 1e6, MINUTE * 1e6, LONG * 1e6

_WINDOWS: Final = f"""
local SHORT, MINUTE, LONG, SILENCE = {_SHORT_US:.0f}, {_MINUTE_US:.0f}, {_LONG_US:.0f}, {IDLE_SECONDS * 1e6:.0f}
local NOW, BEFORE = '{_NOW.format.replace("I", "I4")}', '{_BEFORE.format.replace("I", "I4")}'
local function pace_key(kind, workload, name) return PREFIX .. 'p:' .. kind .. ':' .. workload .. ':' .. name end
"""
_FUNCTIONS: Final = """
local function read(packed)
  local now = {struct.unpack(NOW, packed)}
  local before, at = {0, 0, 0, 0, 0, 0, 0}, now[10]
  if now[1] == 1 then
    before = {struct.unpack(BEFORE, packed, at)}
    at = before[8]
  end
  return now, before, string.sub(packed, at, at + now[9] - 1), string.sub(packed, at + now[9])
end
local function write(now, before, endpoints, values)
  local kind = (before[1] > 0 or before[3] > 0 or before[6] > 0) and 1 or 0
  return struct.pack(NOW, kind, now[2], now[3], now[4], now[5], now[6], now[7], now[8], #endpoints)
    .. (kind == 1 and struct.pack(BEFORE, before[1], before[2], before[3], before[4], before[5], before[6], before[7]) or '')
    .. endpoints .. values
end
"""
_COUNT: Final = """
local function count(key, packed, time, cost, bits)
  local now, before, endpoints, values
  if packed then
    now, before, endpoints, values = read(packed)
  else
    now, before, endpoints, values = {0, time, time, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0}, '', ''
  end
  local last = now[3]
  if time < last then time = last end
  local short = time - time % SHORT
  local turned = not packed or last < short
  if last < short then
    if time - last > SILENCE then now[2] = time end
    local near = last >= short - SHORT
    before[1], before[2], now[4], now[5] = near and now[4] or 0, near and now[5] or 0, 0, 0
    local minute = time - time % MINUTE
    if last < minute then
      near = last >= minute - MINUTE
      before[3], before[4], now[6], now[7] = near and now[6] or 0, near and now[7] or 0, 0, 0
      local long = time - time % LONG
      if last < long then
        near = last >= long - LONG
        before[5], before[6], before[7] = near and now[8] or 0, near and #endpoints or 0, near and #values or 0
        now[8], endpoints, values = 0, '', ''
      end
    end
  end
  now[3], now[4], now[5], now[6], now[7] = time, now[4] + 1, now[5] + cost, now[6] + 1, now[7] + cost
  local bit = string.sub(bits, 1, 1)
  if not string.find(endpoints, bit, 1, true) then endpoints = endpoints .. bit end
  for i = 2, #bits do
    bit = string.sub(bits, i, i)
    if not string.find(values, bit, 1, true) then values = values .. bit end
  end
  packed = write(now, before, endpoints, values)
  if turned then
    redis.call('SET', key, packed, 'EX', IDLE + SHORT / 1000000)
  else
    redis.call('SET', key, packed, 'KEEPTTL')  -- cheaper
  end
  return packed
end
"""
_CHANGE: Final = """
local function change(key, act, time, cost)
  local packed = redis.call('GET', key)
  if not packed then return end
  local now, before, endpoints, values = read(packed)
  local long = now[3] - now[3] % LONG
  if act == 'refuse' then
    now[2] = time
  elseif act == 'relieve' then
    -- Never below none: where what had counted the call was evicted, a number below 0 would be written as billions.
    local short = time >= now[3] - now[3] % SHORT
    if short then now[4], now[5] = math.max(0, now[4] - 1), math.max(0, now[5] - cost) end
    if short or time >= now[3] - now[3] % MINUTE then now[6], now[7] = math.max(0, now[6] - 1), math.max(0, now[7] - cost) end
  elseif time >= long then
    now[8] = now[8] + 1
  elseif time >= long - LONG then
    before[5] = before[5] + 1
  end
  redis.call('SET', key, write(now, before, endpoints, values), 'KEEPTTL')
end
"""
COUNTING: Final = _WINDOWS + _FUNCTIONS + _COUNT
"""`count` counts a call and returns the counters; `packed` is what they were, false for none. Needs `PREFIX`, and `IDLE`, the
seconds after which a silent caller is forgotten."""
CHANGING: Final = _WINDOWS + _FUNCTIONS + _CHANGE
"""`change` counts an error of the call that came at `time`, or takes note that it was refused, or takes it off with its `cost`.
Needs `PREFIX`."""


def to_arguments(footprint: Footprint | None) -> tuple[str, bytes]:
    """Spell a Footprint for the script: its cost, empty where nothing is counted, and its bits, the endpoint's first."""
    if footprint is None:
        return "", b""
    return repr(footprint.cost), bytes((footprint.endpoint, *footprint.values))


def to_paces(session: bytes, address: bytes, workload: bytes) -> Paces:
    """Read what the script counted; empty where it counted nothing. A few microseconds."""
    return Paces(
        _to_counts(session) if session else NO_COUNTS,
        _to_counts(address) if address else NO_COUNTS,
        _to_counts(workload) if workload else NO_COUNTS,
    )


def _to_counts(packed: bytes) -> Counts:
    """Weigh the buckets as of the last call, which is the one that was just counted."""
    kind, first, last, calls, cost, minute_calls, minute_cost, errors, bits = _NOW.unpack_from(packed)
    endpoints, values = DISTINCT[bits], DISTINCT[len(packed) - _SIZES[kind] - bits]
    age = (last - first) / 1e6
    if not kind:
        return Counts(age, (calls, cost, minute_calls, minute_cost, errors, endpoints, values))
    before = _BEFORE.unpack_from(packed, _NOW.size)
    short, minute, long = (
        1.0 - last % _SHORT_US / _SHORT_US,
        1.0 - last % _MINUTE_US / _MINUTE_US,
        1.0 - last % _LONG_US / _LONG_US,
    )
    counts = (
        calls + before[0] * short,
        cost + before[1] * short,
        minute_calls + before[2] * minute,
        minute_cost + before[3] * minute,
        errors + before[4] * long,
        endpoints + DISTINCT[before[5]] * long,
        values + DISTINCT[before[6]] * long,
    )
    return Counts(age, counts)
