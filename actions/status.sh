#!/usr/bin/env bash
# nself plugin realtime status: this host's server and its endpoints, and what goes on in the cluster, as the program counts it.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/plugin.sh"
# shellcheck source=actions/lib/process.sh
source "$PLUGIN/actions/lib/process.sh"

TOP_ROOMS=5
EVENTS=10

server() {
  if running; then
    printf 'Server Process:     RUNNING (PID: %s)\n' "$PID"
  elif [ -n "$PID" ]; then
    printf 'Server Process:     STOPPED (stale PID)\n'
  else
    printf 'Server Process:     STOPPED\n'
  fi
}

# figure NAME: the number behind a name in what stats says.
figure() { sed -n "s/^ *$1: *//p" <<<"$STATS"; }

figures() {
  STATS=$(realtime stats) || return 1
  printf 'Active Connections: %s\n' "$(figure 'Active Connections')"
  printf 'Unique Users:       %s\n' "$(figure 'Authenticated Users')"
  printf 'Active Rooms:       %s\n' "$(figure 'Active Rooms')"
  printf '\nPresence Status:\n'
  local status
  for status in Online Away Busy Offline; do
    printf '  %-8s %s\n' "$status:" "$(figure "$status")"
  done
}

# One JSON object a line: in a text of JSON a quote has a backslash before it, so no room's name looks like a field.
rooms() {
  local listed
  printf '\nTop %s Active Rooms:\n' "$TOP_ROOMS"
  listed=$(realtime rooms list --json) || return 1
  sed -nE 's/.*"memberCount":([0-9]+).*"name":"(([^"\\]|\\.)*)".*/\1 \2/p' <<<"$listed" | sort -k 1,1nr -k 2 |
    sed -nE "1,${TOP_ROOMS}s/^([0-9]+) (.*)/  \2: \1 members/p"
}

events() {
  local listed
  printf '\nRecent Events (last %s):\n' "$EVENTS"
  if ! listed=$(realtime events --number "$EVENTS" 2>&1); then
    printf '  %s\n' "${listed#Error: }"
    return 0
  fi
  sed -nE 's/^([0-9]{2}:[0-9]{2}:[0-9]{2}) +([^ ]+) +(.*)/\1 \2 \3/p' <<<"$listed" |
    while read -r time kind rest; do printf '  [%s] %s %s\n' "$time" "$kind" "${rest%% *}"; done
}

endpoint() {
  local mark=✗ said='no answer'
  if ask "$1"; then
    said=$STATUS
    [ "$STATUS" != 200 ] || mark=✓
  fi
  base_url
  printf '  %s %s%s (%s)\n' "$mark" "$REPLY" "$1" "$said"
}

find_program
load_settings
printf '\nRealtime Status\n==================================================\n'
server
status=0
figures && rooms || status=1
[ "$status" != 0 ] || events
printf '\nHTTP Endpoints:\n'
for path in "${REALTIME_HEALTH_PATH:-/health}" /readyz "${REALTIME_METRICS_PATH:-/metrics}"; do
  endpoint "$path"
done
printf '==================================================\n'
exit "$status"
