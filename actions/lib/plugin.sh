#!/usr/bin/env bash
# What the plugin's scripts share: where things lie, the project's settings, and how the program is called. To be sourced;
# the loader sees it as no action, since it looks into actions/ alone. Not here: anything of Redis or Postgres, which
# the program alone knows. Bash 3.2 understands it.
# shellcheck disable=SC2034  # the names below are for whoever sources this

# Both loaders name the plugin's directory, each by another variable; this file knows it without either.
PLUGIN=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
PROJECT=${NSELF_PROJECT_DIR:-$PWD}
DATA=${HOME:?is not set}/.nself/data/plugins/realtime
LOGS=$HOME/.nself/logs/plugins/realtime
CACHE=$HOME/.nself/cache/plugins/realtime
NAME=nself-realtime

fail() {
  printf 'Error: %s\n' "$*" >&2
  exit 1
}

warn() { printf 'Warning: %s\n' "$*" >&2; }

# Sets PROGRAM: the plugin's own, else the one in the path.
find_program() {
  PROGRAM=$PLUGIN/bin/$NAME
  [ -x "$PROGRAM" ] || PROGRAM=$(command -v "$NAME") ||
    fail "there is no $NAME in $PLUGIN/bin nor in the path; run: bash $PLUGIN/install.sh"
}

# realtime ARGUMENT...: the program, with the project's settings. Not in the project's directory: there it would read .env
# itself, and stop at lines that are meant for others (CMD=pnpm dev).
realtime() (
  cd "$PLUGIN" || exit 1
  exec "$PROGRAM" "$@"
)

# Whether a variable is the program's business; no other one reaches its environment.
is_ours() {
  case $1 in
    REALTIME_* | DATABASE_URL | PORT | LOG_LEVEL | LOG_FORMAT | NODE_ENV) ;;
    REDIS_URL | REDIS_HOST | REDIS_PORT | REDIS_PASSWORD) ;;
    POSTGRES_HOST | POSTGRES_PORT | POSTGRES_DB | POSTGRES_USER | POSTGRES_PASSWORD | POSTGRES_SSL) ;;
    *) return 1 ;;
  esac
}

# Sets REPLY: the text with ${NAME} filled in; a text in double quotes also has escapes.
fill_in() {
  local rest=$1 quoted=$2 name stored
  REPLY=
  while [ -n "$rest" ]; do
    case $quoted$rest in
      yes\\[\"\\\$]*) REPLY+=${rest:1:1} rest=${rest:2} ;;
      yes\\n*) REPLY+=$'\n' rest=${rest:2} ;;
      *\$\{*)
        name=${rest%%\$\{*}
        # Something stands before it: that first, unless an escape is in there.
        if [ -n "$name" ]; then
          REPLY+=${rest:0:1} rest=${rest:1}
          continue
        fi
        name=${rest:2}
        name=${name%%\}*}
        if [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] && [ "${rest:0:$((${#name} + 3))}" = "\${$name}" ]; then
          stored=file_$name
          # The environment is stronger than any file here, too.
          if [[ $EXPORTED == *" $name "* ]]; then
            REPLY+=${!name}
          else
            REPLY+=${!stored-}
          fi
          rest=${rest:$((${#name} + 3))}
        else
          REPLY+=${rest:0:2} rest=${rest:2}
        fi
        ;;
      *) REPLY+=${rest:0:1} rest=${rest:1} ;;
    esac
  done
}

# Sets REPLY: the value of an assignment's right side, as far as it stands on this line. Nothing of it is run.
read_value() {
  local text=$1 end='^"(([^"\\]|\\.)*)"'
  case $text in
    \'*\'*)
      text=${text#\'}
      REPLY=${text%%\'*}
      ;;
    \"*)
      if [[ $text =~ $end ]]; then
        fill_in "${BASH_REMATCH[1]}" yes
      else
        REPLY=$text
      fi
      ;;
    \#*) REPLY= ;;
    *)
      text=${text%%[[:space:]]#*}
      text=${text%"${text##*[![:space:]]}"}
      fill_in "$text" no
      ;;
  esac
}

# read_file FILE: takes over its KEY=VALUE lines, over those of files before it, never over the environment. What is no such
# line is somebody else's and left alone. A key in PEM may span lines, in quotes.
read_file() {
  local line name more assignment='^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$'
  [ -f "$1" ] && [ -r "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    [[ ${line%$'\r'} =~ $assignment ]] || continue
    name=${BASH_REMATCH[2]} line=${BASH_REMATCH[3]}
    case $line in
      [\"\']-----BEGIN*)
        while [[ $line != *-----END*-----[\"\']* ]] && IFS= read -r more; do
          line+=$'\n'${more%$'\r'}
        done
        ;;
    esac
    read_value "$line"
    printf -v "file_$name" %s "$REPLY"
    if is_ours "$name" && [[ $GIVEN != *" $name "* ]]; then
      export "$name=$REPLY"
    fi
  done <"$1"
}

# Reads the settings as nself does, each over those before: the plugin's own .env, then of the project .env.dev,
# .env.local, those of the environment that NSELF_ENV or ENV names, .env. The environment wins over all of them; what is
# empty there counts as not set.
load_settings() {
  local name file environment files
  GIVEN=" " EXPORTED=" "
  for name in $(compgen -e); do
    EXPORTED+="$name "
    if is_ours "$name" && [ -n "${!name}" ]; then
      GIVEN+="$name "
    fi
  done
  files=("$PLUGIN/.env" "$PROJECT/.env.dev" "$PROJECT/.env.local")
  # A first time, to learn which environment it is.
  for file in "${files[@]}" "$PROJECT/.env"; do read_file "$file"; done
  environment=${NSELF_ENV:-${ENV:-${file_NSELF_ENV:-${file_ENV:-dev}}}}
  case $environment in
    stage | staging) files+=("$PROJECT/.env.staging") ;;
    prod | production) files+=("$PROJECT/.env.staging" "$PROJECT/.env.prod" "$PROJECT/.env.secrets") ;;
  esac
  for file in "${files[@]}" "$PROJECT/.env"; do read_file "$file"; done
  # The project's paths are meant from the project.
  case ${REALTIME_JWT_JWKS_FILE:-} in
    '' | /*) ;;
    *) export REALTIME_JWT_JWKS_FILE="$PROJECT/$REALTIME_JWT_JWKS_FILE" ;;
  esac
}

# Sets REPLY: where the gateway of these settings answers health, as "host port".
address() {
  local host=${REALTIME_HOST:-0.0.0.0}
  case $host in
    0.0.0.0 | localhost) host=127.0.0.1 ;;
    '[::]' | ::) host=::1 ;;
  esac
  REPLY="${host//[\[\]]/} ${REALTIME_ADMIN_PORT:-${REALTIME_PORT:-${PORT:-3101}}}"
}

# Sets REPLY: the same as the beginning of a URL.
base_url() {
  address
  case $REPLY in
    *:*) REPLY="http://[${REPLY% *}]:${REPLY#* }" ;;
    *) REPLY="http://${REPLY/ /:}" ;;
  esac
}

# ask PATH: GET from the gateway of these settings, by this shell alone. Sets STATUS, 000 where nobody answers, and REPLY, the
# body. Never waits longer than five seconds for a line.
ask() {
  local answer
  address
  answer=$(get "$1" "${REPLY% *}" "${REPLY#* }" 2>/dev/null) || true
  STATUS=${answer%%$'\n'*} REPLY=${answer#*$'\n'}
  [[ $STATUS =~ ^[1-5][0-9][0-9]$ ]] || STATUS=000 REPLY=
  [ "$STATUS" != 000 ]
}

# get PATH HOST PORT: prints the status and the body.
get() {
  local line status='' is_head=yes
  exec 3<>"/dev/tcp/$2/$3" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: %s:%s\r\nAccept: application/json\r\nConnection: close\r\n\r\n' "$1" "$2" "$3" >&3
  while IFS= read -r -t 5 line <&3 || [ -n "$line" ]; do
    line=${line%$'\r'}
    if [ -z "$status" ]; then
      [[ $line =~ ^HTTP/1\.[01]\ ([0-9]{3}) ]] || return 1
      status=${BASH_REMATCH[1]}
      printf '%s\n' "$status"
    elif [ -n "$is_head" ]; then
      [ -n "$line" ] || is_head=
    else
      printf '%s\n' "$line"
    fi
  done
}
