#!/usr/bin/env bash
# Stops the server, and deletes what the plugin has kept where it is told to; the directory itself goes with whoever calls it.
# Nobody at a terminal and nothing said = the data stays.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/actions/lib/plugin.sh"
# shellcheck source=actions/lib/process.sh
source "$PLUGIN/actions/lib/process.sh"

usage() {
  cat <<TEXT
Usage: uninstall.sh [--keep-data | --delete-data] [--yes]
  --keep-data     leave database, Redis, logs and data as they are
  --delete-data   delete the tables in Postgres, the keys in Redis, logs and data
  --yes           do not ask; with --delete-data, or alone for the same
TEXT
}

answer= # keep or delete
is_sure=
for argument in "$@"; do
  case $argument in
    --keep-data) answer=keep ;;
    --delete-data) answer=delete ;;
    --yes | -y) is_sure=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "nobody knows $argument"
      ;;
  esac
done
case $answer,$is_sure in
  ,yes) answer=delete ;;
  delete,) [ -t 0 ] || is_sure=yes ;; # said, and nobody there to say it twice
esac

# confirmed QUESTION: y at a terminal; no anywhere else.
confirmed() {
  local reply=
  [ -t 0 ] || return 1
  read -r -p "$1 [y/N] " reply || true
  [[ $reply =~ ^[Yy] ]]
}

# Gateways that run this plugin's program and were not started by actions/server.sh: by `nself plugin start`, by hand.
others() {
  local process program
  for process in /proc/[0-9]*; do
    program=$(readlink "$process/exe" 2>/dev/null) || continue
    if [ "${program% (deleted)}" = "$PLUGIN/bin/$NAME" ]; then
      printf '%s\n' "${process##*/}"
    fi
  done
}

stop_others() {
  local pids pid wait=0 ends
  pids=$(others)
  [ -n "$pids" ] || return 0
  printf 'Stopping what else runs the program (PID: %s)...\n' "${pids//$'\n'/, }"
  for pid in $pids; do
    drain_deadline "$pid"
    [ "$REPLY" -le "$wait" ] || wait=$REPLY
  done
  ends=$((SECONDS + wait))
  # shellcheck disable=SC2086  # one word for each process
  kill -TERM $pids 2>/dev/null || true
  while pids=$(others) && [ -n "$pids" ]; do
    if [ "$SECONDS" -ge "$ends" ]; then
      # shellcheck disable=SC2086
      kill -KILL $pids 2>/dev/null || true
      return 0
    fi
    sleep 0.2
  done
}

delete_data() {
  find_program
  load_settings
  realtime purge --yes ||
    fail "the data is still there (see above); what reaches Postgres and Redis has to be set, or say --keep-data"
  rm -rf "$DATA" "$LOGS" "$CACHE"
  printf '✓ Data deleted\n'
}

bash "$PLUGIN/actions/server.sh" stop
stop_others
link=$HOME/.nself/bin/$NAME
if [ -L "$link" ] && [ "$(readlink "$link")" = "$PLUGIN/bin/$NAME" ]; then
  rm -f "$link"
fi

if [ -z "$answer" ] && confirmed "Delete all rooms, memberships and events in Postgres and Redis, and the logs?"; then
  answer=delete is_sure=yes
fi
if [ "$answer" = delete ] && { [ -n "$is_sure" ] || confirmed "Delete all data? Nothing brings it back."; }; then
  delete_data
else
  printf 'Kept: the tables in Postgres, the keys in Redis, %s, %s\n' "$DATA" "$LOGS"
fi
printf '✓ Realtime is uninstalled\n'
