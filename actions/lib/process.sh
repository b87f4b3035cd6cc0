#!/usr/bin/env bash
# Whether the server that actions/server.sh started runs, and how long it may take to end. To be sourced, behind plugin.sh.

PID_FILE=$DATA/server.pid
STOP_MARGIN_S=5 # over the drain's own deadline

# is_server PID: whether that process is a gateway; not one that has got the number of one that died, nor a corpse.
is_server() {
  local state comm
  kill -0 "$1" 2>/dev/null || return 1
  if [ -r "/proc/$1/status" ]; then
    comm=$(sed -n 's/^Name:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) || return 1
    state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) || return 1
  else
    comm=$(ps -p "$1" -o comm= 2>/dev/null) || return 1
    state=$(ps -p "$1" -o state= 2>/dev/null) || return 1
  fi
  [ "${comm##*/}" = "$NAME" ] && [ "${state#Z}" = "$state" ]
}

# Sets PID to what the file says, empty where there is none. True if that is a gateway.
running() {
  PID=
  [ -f "$PID_FILE" ] || return 1
  read -r PID <"$PID_FILE" || true
  [[ $PID =~ ^[0-9]+$ ]] || PID=
  [ -n "$PID" ] && is_server "$PID"
}

# Sets REPLY: how long a stop may take at most, in seconds, by what the running gateway was told, else by the settings now.
drain_deadline() {
  local ms=''
  if [ -r "/proc/$1/environ" ]; then
    ms=$(tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n 's/^REALTIME_DRAIN_TIMEOUT=//p') || ms=''
  fi
  ms=${ms:-${REALTIME_DRAIN_TIMEOUT:-35000}}
  [[ $ms =~ ^[0-9]{1,9}$ ]] || ms=35000
  REPLY=$(((10#$ms + 999) / 1000 + STOP_MARGIN_S))
}
