-- The dialect of Redis' scripts (`make lint`): Lua 5.1 without libraries, and what Redis adds.
std = {
  read_globals = {
    "ARGV", "KEYS", "cjson", "redis",
    "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack",
    math = { fields = { "abs", "ceil", "floor", "huge", "max", "min" } },
    string = { fields = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "sub", "upper" } },
    table = { fields = { "concat", "insert", "remove", "sort" } },
  },
}
max_line_length = 130
