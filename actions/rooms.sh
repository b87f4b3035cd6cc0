#!/usr/bin/env bash
# nself plugin realtime rooms {list|create|delete|info|add-member|remove-member}: rooms and who is in them. The program takes the
# words as they are; here stands only the question before a room is gone.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/plugin.sh"

usage() {
  cat >&2 <<'TEXT'
Usage: rooms list
       rooms create <name> [type=channel] [visibility=public]
       rooms delete <name> [--yes]
       rooms info <name>
       rooms add-member <room> <user> [role=member]
       rooms remove-member <room> <user>
TEXT
  exit 1
}

delete() {
  local argument reply='' is_sure=
  local rest=()
  for argument in "$@"; do
    case $argument in
      --yes | -y) is_sure=yes ;;
      *) rest+=("$argument") ;;
    esac
  done
  [ ${#rest[@]} -gt 0 ] || usage
  if [ -z "$is_sure" ]; then
    [ -t 0 ] || fail "delete asks at a terminal alone; to delete the room ${rest[0]} without being asked, add --yes"
    read -r -p "Delete the room ${rest[0]}, and send everybody out? [y/N] " reply || true
    if [[ ! $reply =~ ^[Yy] ]]; then
      printf 'Not deleted\n'
      return 0
    fi
  fi
  realtime rooms delete "${rest[@]}"
}

what=${1:-list}
[ $# -eq 0 ] || shift
case $what in
  list | create | info | add-member | remove-member | delete) ;;
  *) usage ;;
esac
find_program
load_settings
case $what in
  delete) delete "$@" ;;
  *) realtime rooms "$what" "$@" ;;
esac
