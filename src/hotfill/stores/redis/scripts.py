"""The steps that must be whole, as scripts that the server runs one at a time.

A script sees and leaves one moment, in the store and in its log of writes. Every script is told the
stamp's epoch, and does nothing where the stamp has another one by now: `STALE` comes back.

Documents of both kinds have the same notes in them: `hotfill_side`, `hotfill_version`,
`hotfill_origin`, `hotfill_revision` (of the metadata). In an adopted gallery a document without
them is an item where it has a vector of the base (`stamp.Base`); its version is a digest of that
vector, so that whoever replaces the vector past hotfill makes it another version.

Next to the documents there are, for each gallery:

- a sorted set of item ids for each side and origin, from which items are listed and counted;
- kept vectors, each a text of its own: twenty digits of the content's version, then the vector.

Versions are microseconds: Lua's numbers are exact up to 2**53.
"""

STALE = "STALE"

_HASH = """
local function notes(key)
  local r = redis.call('HMGET', key, 'hotfill_side', 'hotfill_version', 'hotfill_origin',
                       'hotfill_revision')
  return r[1], r[2], r[3], r[4]
end
local function field(key, name) return redis.call('HGET', key, name) end
local function has_base(key) return redis.call('HSTRLEN', key, H.base.field) == H.base.bytes end
local function write(key, gone, set)
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  if #set > 0 then redis.call('HSET', key, unpack(set)) end
end
local function content(key)
  local names, found = {}, {}
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if not H.hidden[name] and (name == 'hotfill_types' or string.sub(name, 1, 8) ~= 'hotfill_') then
      names[#names + 1] = name
    end
  end
  for from = 1, #names, 1000 do
    local upto = math.min(from + 999, #names)
    local values = redis.call('HMGET', key, unpack(names, from, upto))
    for i, value in ipairs(values) do
      found[#found + 1] = names[from + i - 1]
      found[#found + 1] = value
    end
  end
  return found
end
"""

_JSON = """
local function notes(key)
  local text = redis.call('JSON.GET', key, '$.hotfill_side', '$.hotfill_version',
                          '$.hotfill_origin', '$.hotfill_revision')
  if not text then return nil end
  local r = cjson.decode(text)
  return r['$.hotfill_side'][1], r['$.hotfill_version'][1], r['$.hotfill_origin'][1],
         r['$.hotfill_revision'][1]
end
local function field(key, path)
  local text = redis.call('JSON.GET', key, path)
  return text and text ~= '[]' and text
end
local function has_base(key)
  if redis.call('EXISTS', key) == 0 then return false end
  local r = redis.call('JSON.ARRLEN', key, H.base.field)
  return r and r[1] == H.base.dimension
end
local function write(key, gone, set)
  if redis.call('EXISTS', key) == 0 then redis.call('JSON.SET', key, '$', '{}') end
  redis.call('JSON.MERGE', key, '$', set[1])
end
local function content(key)
  local paths = {}
  for _, name in ipairs(redis.call('JSON.OBJKEYS', key, '$')[1] or {}) do
    if not H.hidden[name]
        and (name == 'hotfill_numbers' or string.sub(name, 1, 8) ~= 'hotfill_')
        and not string.find(name, '["\\\\]') then
      paths[#paths + 1] = '$["' .. name .. '"]'
    end
  end
  if #paths == 0 then return {} end
  return {redis.call('JSON.GET', key, '$.hotfill_side', unpack(paths))}
end
"""

# KEYS[1]: the stamp's epoch; then the documents. ARGV[1]: what all of them share, as JSON.
_HEAD = """
local function head(key)
  local side, version, origin, revision = notes(key)
  if not side then
    if not (H.base and H.base.side and has_base(key)) then return nil end
    side = H.base.side
  end
  if not H.origins[side] then return nil end
  if not version then
    local digest = redis.sha1hex(H.base and field(key, H.base.field) or '')
    version = string.format('%.0f', tonumber(string.sub(digest, 1, 12), 16))
  end
  return side, version, origin or H.origins[side], revision or ''
end
local function padded(version) return string.rep('0', 20 - #version) .. version end
local function kept_key(number, id) return H.kept .. number .. ':' .. id end
local sets = nil
local function list_as(id, side, origin)
  sets = sets or redis.call('SMEMBERS', H.sets)
  local right = side and H.ids .. side .. ':' .. origin
  local there = false
  for _, set in ipairs(sets) do
    if set == right then
      there = true
    else
      redis.call('ZREM', set, id)
    end
  end
  if right then
    redis.call('ZADD', right, 0, id)
    if not there then
      redis.call('SADD', H.sets, right)
      sets[#sets + 1] = right
    end
  end
end
"""

# H.step: "upsert", "move" or "describe". Of each item: id, version ('' for any), revision ('*' for
# any), number of fields to remove and they, number of words to set and they, number of words about
# kept vectors and they (number of the space, text). Gives 1 where done, 0 where it may not be, 2
# where the metadata have changed since they were read.
_WRITE = """
local at, done = 1, {}
local function take() at = at + 1; return ARGV[at] end
local function some()
  local words = {}
  for i = 1, tonumber(take()) do words[i] = take() end
  return words
end
for i = 2, #KEYS do
  local key, id, wanted, seen = KEYS[i], take(), take(), take()
  local gone, set, kept = some(), some(), some()
  local side, version, origin, revision = head(key)
  if seen ~= '*' and seen ~= (revision or '') then
    done[i - 1] = 2
  elseif H.step ~= 'upsert' and not side or wanted ~= '' and wanted ~= version then
    done[i - 1] = 0
  elseif H.step == 'move' and side == H.side and origin == H.own and H.origin ~= H.own then
    done[i - 1] = 0
  else
    if H.step == 'upsert' then
      for _, number in ipairs(H.numbers) do redis.call('UNLINK', kept_key(number, id)) end
      for j = 1, #kept, 2 do redis.call('SET', kept_key(kept[j], id), kept[j + 1]) end
    elseif H.step == 'move' and side ~= H.side then
      redis.call('UNLINK', kept_key(string.sub(H.side, 2), id))
      if not (H.base and H.base.stays and side == H.base.side) then
        local vector = field(key, H.fields[side])
        if vector then
          redis.call('SET', kept_key(string.sub(side, 2), id), padded(version) .. vector)
        end
      end
    end
    write(key, gone, set)
    if H.step ~= 'describe' then list_as(id, H.side, H.origin) end
    done[i - 1] = 1
  end
end
return done
"""

# ARGV: the ids. Gives 1 where there was an item.
_DELETE = """
local done = {}
for i = 2, #KEYS do
  local id = ARGV[i]
  done[i - 1] = head(KEYS[i]) and 1 or 0
  if done[i - 1] == 1 then
    redis.call('DEL', KEYS[i])
    for _, number in ipairs(H.numbers) do redis.call('UNLINK', kept_key(number, id)) end
    list_as(id)
  end
end
return done
"""

# ARGV: the ids. H.what: "heads", "content" or "vectors" (of the space H.number).
# Gives of each: side, version, origin, revision, and what was asked for; the side is '' of no item.
_READ = """
local function vector(key, id, side, version)
  if side == 's' .. H.number then return field(key, H.fields[side]) end
  if H.base and H.base.stays and H.base.number == H.number then
    return field(key, H.base.field)
  end
  local text = redis.call('GET', kept_key(H.number, id))
  if text and string.sub(text, 1, 20) == padded(version) then return string.sub(text, 21) end
end
local found = {}
for i = 2, #KEYS do
  local key = KEYS[i]
  local side, version, origin, revision = head(key)
  local more = ''
  if H.what == 'content' then
    more = redis.call('EXISTS', key) == 1 and content(key) or {}
  elseif H.what == 'vectors' and side then
    more = vector(key, ARGV[i], side, version) or ''
  end
  found[i - 1] = {side or '', version or '', origin or '', revision or '', more}
end
return found
"""

# ARGV: the ids. Lets the sets say what the documents do; kept vectors of no document go.
_SYNC = """
for i = 2, #KEYS do
  local side, version, origin = head(KEYS[i])
  list_as(ARGV[i], side, origin)
  if not side and redis.call('EXISTS', KEYS[i]) == 0 then
    for _, number in ipairs(H.numbers) do redis.call('UNLINK', kept_key(number, ARGV[i])) end
  end
end
return 1
"""

_PRELUDE = """
if redis.call('GET', KEYS[1]) ~= tostring(cjson.decode(ARGV[1]).epoch) then
  return redis.error_reply('STALE the stamp has changed')
end
local H = cjson.decode(ARGV[1])
"""


def of(kind: str) -> dict[str, str]:
    """Return the scripts for documents of a kind, "hash" or "json", by their names."""
    start = _PRELUDE + (_HASH if kind == "hash" else _JSON) + _HEAD
    bodies = {"write": _WRITE, "delete": _DELETE, "read": _READ, "sync": _SYNC}
    return {name: start + body for name, body in bodies.items()}


# KEYS: the clock. ARGV: how many. Gives the first of so many versions that nothing ever had.
CLOCK = """
local time = redis.call('TIME')
local first = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1,
                       tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('SET', KEYS[1], string.format('%.0f', first + tonumber(ARGV[1]) - 1))
return string.format('%.0f', first)
"""

# KEYS: epoch, stamp, the names of the sets. ARGV: the epoch that it has now ('' for none), the new
# one, the new stamp, what the names of sets begin with that must be empty ('' for none).
# Gives how many items are in those sets, or -1 where the stamp has changed.
RESTAMP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return -1 end
local there = 0
if ARGV[4] ~= '' then
  for _, set in ipairs(redis.call('SMEMBERS', KEYS[3])) do
    if string.sub(set, 1, #ARGV[4]) == ARGV[4] then there = there + redis.call('ZCARD', set) end
  end
end
if there == 0 then
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('SET', KEYS[2], ARGV[3])
end
return there
"""

# KEYS: the owner. ARGV: who gives it back.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
