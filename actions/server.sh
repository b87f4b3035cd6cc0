#!/usr/bin/env bash
# nself plugin realtime server {start|stop|restart|status|logs [lines]}: one gateway on this host, with the settings of the
# project. Not here: what `nself plugin start realtime` runs, nor a service manager's.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/plugin.sh"
# shellcheck source=actions/lib/process.sh
source "$PLUGIN/actions/lib/process.sh"

LOG_FILE=$LOGS/server.log
LOG_BYTES=10485760 # beyond, a start begins a new one, and the last one is kept
READY_TRIES=60     # of a quarter of a second: Redis may be starting, too

# Two starts, or a start and a stop, one behind the other, where the system can do that.
one_at_a_time() {
  mkdir -p "$DATA" "$LOGS" "$CACHE"
  exec 9>"$DATA/server.lock"
  if command -v flock >/dev/null 2>&1; then
    flock -w 120 9 || fail "another start or stop is under way"
  fi
}

start() {
  find_program
  if running; then
    printf 'Server is already running (PID: %s)\n' "$PID"
    return 0
  fi
  if [ -f "$LOG_FILE" ] && [ "$(wc -c <"$LOG_FILE")" -gt "$LOG_BYTES" ]; then
    mv -f "$LOG_FILE" "$LOG_FILE.1"
  fi
  touch "$LOG_FILE"
  chmod 600 "$LOG_FILE" # it has users and addresses
  local first_line
  first_line=$(($(wc -l <"$LOG_FILE") + 1))
  # From here on this process is none of ours: no terminal, no lock, a process group of its own.
  set -m
  (
    cd "$PLUGIN"
    NODE_ENV=${NODE_ENV:-production} exec nohup "$PROGRAM" serve </dev/null >>"$LOG_FILE" 2>&1 9>&-
  ) &
  PID=$!
  set +m
  printf '%s\n' "$PID" >"$PID_FILE"
  printf 'Starting the server (PID: %s)...\n' "$PID"
  await_ready "$first_line"
}

# Until the gateway is ready, ends, or is not ready for too long.
await_ready() {
  local tries status=000
  for ((tries = 0; tries < READY_TRIES; tries++)); do
    if ! kill -0 "$PID" 2>/dev/null; then
      rm -f "$PID_FILE"
      tail -n "+$1" "$LOG_FILE" | tail -n 20 >&2
      fail "the server has ended; the log is $LOG_FILE"
    fi
    if ask /readyz; then
      status=$STATUS
      if [ "$status" = 200 ]; then
        printf '✓ Server started (PID: %s)\n' "$PID"
        base_url
        printf '  Address: %s\n  Log:     %s\n' "$REPLY" "$LOG_FILE"
        return 0
      fi
    fi
    sleep 0.25
  done
  tail -n "+$1" "$LOG_FILE" | tail -n 5 >&2
  warn "the server runs (PID: $PID) and is not ready yet (/readyz says $status: $REPLY)"
}

stop() {
  if ! running; then
    rm -f "$PID_FILE"
    printf 'Server is not running\n'
    return 0
  fi
  local ends
  drain_deadline "$PID"
  printf 'Stopping the server (PID: %s); its clients go elsewhere first, %s s at most...\n' "$PID" "$REPLY"
  kill -TERM "$PID" 2>/dev/null || true
  ends=$((SECONDS + REPLY))
  while is_server "$PID"; do
    if [ "$SECONDS" -ge "$ends" ]; then
      kill -KILL "$PID" 2>/dev/null || true
      warn "it did not end in time, and was killed"
      break
    fi
    sleep 0.2
  done
  rm -f "$PID_FILE"
  printf '✓ Server stopped\n'
}

status() {
  if running; then
    printf 'Status: RUNNING (PID: %s)\n' "$PID"
  elif [ -n "$PID" ]; then
    printf 'Status: STOPPED (stale PID: %s)\n' "$PID"
    return 1
  else
    printf 'Status: NOT RUNNING\n'
    return 1
  fi
  if ask "${REALTIME_HEALTH_PATH:-/health}"; then
    printf '\nHealth (%s):\n%s\n' "$STATUS" "$REPLY"
  else
    printf '\nHealth: no answer\n'
  fi
  if ask "${REALTIME_METRICS_PATH:-/metrics}"; then
    printf '\nMetrics:\n%s\n' "$REPLY"
  fi
}

logs() {
  [[ $1 =~ ^[0-9]+$ ]] || fail "logs takes a number of lines, not $1"
  [ -f "$LOG_FILE" ] || fail "there is no log yet: $LOG_FILE"
  tail -n "$1" "$LOG_FILE"
}

load_settings
case ${1:-start} in
  start)
    one_at_a_time
    start
    ;;
  stop)
    one_at_a_time
    stop
    ;;
  restart)
    one_at_a_time
    stop
    start
    ;;
  status) status ;;
  logs) logs "${2:-50}" ;;
  *)
    printf 'Usage: server {start|stop|restart|status|logs [lines]}\n' >&2
    exit 1
    ;;
esac
