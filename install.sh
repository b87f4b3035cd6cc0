#!/usr/bin/env bash
# Puts the program into the plugin's bin/, and says what the settings lack. `nself plugin install` runs it in the copy that it
# has made; run it again at any time. Not here: the database's schema, which `nself plugin realtime init` brings.
#
# Where the program comes from, the first that there is:
#   NSELF_REALTIME_BINARY   a file that was built elsewhere
#   bin/nself-realtime      that the package came with, or that an earlier run has put there for these very sources
#   target/release/         that was built here
#   cargo                   builds it
#   nself-realtime          in the path
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/actions/lib/plugin.sh"

VERSION=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$PLUGIN/plugin.json")

demand_redis() {
  [ -n "${REALTIME_REDIS_URL:-}${REDIS_URL:-}${REDIS_HOST:-}" ] ||
    fail "REALTIME_REDIS_URL is not set, and nothing works without Redis; put it into $PROJECT/.env, then install again"
}

# The program itself knows what its settings lack.
judge_settings() {
  local said
  if said=$(realtime check-config 2>&1); then
    sed -n '/^Serious: /p; /^Warning: /p' <<<"$said" >&2
  else
    warn "with these settings the server does not start: ${said#Error: }"
  fi
}

# The version that a program says it has; fails where it does not run.
version_of() {
  local said
  said=$(cd / && "$1" --version 2>/dev/null) || return 1
  printf '%s\n' "${said##* }"
}

build() {
  local target=${CARGO_TARGET_DIR:-$PLUGIN/target}
  printf 'Building %s; this takes some minutes...\n' "$NAME" >&2
  command -v cc >/dev/null 2>&1 || fail "a C linker is missing (Debian: apt-get install gcc libc6-dev)"
  (cd "$PLUGIN" && cargo build --release --locked --bin "$NAME" --target-dir "$target" >&2) ||
    fail "the program could not be built; with a program from elsewhere: NSELF_REALTIME_BINARY=<file> bash $PLUGIN/install.sh"
  printf '%s\n' "$target/release/$NAME"
}

# What an install notes beside the program that it has put there: of which sources it was, and which program.
MARK=$PLUGIN/bin/.$NAME.installed
SOURCES=(src lua sql Cargo.toml Cargo.lock)

# A sum over everything that the program is built of; fails where a tool for it is missing.
sum_of_sources() (
  cd "$PLUGIN" && find "${SOURCES[@]}" -type f -exec cksum {} + | LC_ALL=C sort | cksum
) 2>/dev/null

# Whether bin/ has what the package came with, or what an install has put there for these sources: not what one of before an
# update has left.
is_current() {
  [ -x "$PLUGIN/bin/$NAME" ] || return 1
  [ -e "$MARK" ] || return 0
  local sources program sum
  { read -r sources && read -r program; } <"$MARK" || return 1
  sum=$(cksum <"$PLUGIN/bin/$NAME") || return 1
  [ "$sum" = "$program" ] || return 0
  sum=$(sum_of_sources) && [ "$sum" = "$sources" ]
}

# Whether what was built here is no older than what it was built of.
is_built() {
  [ -x "$PLUGIN/target/release/$NAME" ] || return 1
  local newer
  newer=$(cd "$PLUGIN" && find "${SOURCES[@]}" -type f -newer "target/release/$NAME" 2>/dev/null) || return 1
  [ -z "$newer" ]
}

# Prints the file that becomes the plugin's program.
find_source() {
  if [ -n "${NSELF_REALTIME_BINARY:-}" ]; then
    if [ ! -f "$NSELF_REALTIME_BINARY" ] || [ ! -x "$NSELF_REALTIME_BINARY" ]; then
      fail "NSELF_REALTIME_BINARY is no program: $NSELF_REALTIME_BINARY"
    fi
    printf '%s\n' "$NSELF_REALTIME_BINARY"
  elif is_current; then
    printf '%s\n' "$PLUGIN/bin/$NAME"
  elif is_built; then
    printf '%s\n' "$PLUGIN/target/release/$NAME"
  elif command -v cargo >/dev/null 2>&1; then
    build
  elif [ -x "$PLUGIN/target/release/$NAME" ]; then
    warn "what was built in $PLUGIN/target is older than its sources, and there is no cargo to build it anew"
    printf '%s\n' "$PLUGIN/target/release/$NAME"
  elif [ -x "$PLUGIN/bin/$NAME" ]; then
    warn "the program in $PLUGIN/bin is of an earlier install, and there is no cargo to build the present one"
    printf '%s\n' "$PLUGIN/bin/$NAME"
  else
    command -v "$NAME" || fail "there is no program, and no cargo to build it; either of:
  install Rust (https://rustup.rs) and run: bash $PLUGIN/install.sh
  NSELF_REALTIME_BINARY=<a built $NAME> bash $PLUGIN/install.sh"
  fi
}

install_program() {
  local from version had_target=
  [ ! -e "$PLUGIN/target" ] || had_target=yes
  from=$(find_source)
  mkdir -p "$PLUGIN/bin"
  if [ ! "$from" -ef "$PLUGIN/bin/$NAME" ]; then
    rm -f "$MARK"
    # Under another name first: one that runs cannot be written over.
    cp -f "$from" "$PLUGIN/bin/.$NAME.new"
    chmod 755 "$PLUGIN/bin/.$NAME.new"
    mv -f "$PLUGIN/bin/.$NAME.new" "$PLUGIN/bin/$NAME"
    { sum_of_sources || echo unknown; cksum <"$PLUGIN/bin/$NAME" || echo unknown; } >"$MARK" 2>/dev/null
  fi
  # What this build alone has made: a gigabyte that nobody needs any more.
  [ -n "$had_target" ] || rm -rf "$PLUGIN/target"
  version=$(version_of "$PLUGIN/bin/$NAME") || fail "$PLUGIN/bin/$NAME does not run on this machine (it came from $from)"
  [ "$version" = "$VERSION" ] || warn "the program is version $version, the plugin is $VERSION"
  printf '✓ %s %s in %s/bin\n' "$NAME" "$version" "$PLUGIN"
}

load_settings
demand_redis
mkdir -p "$DATA" "$LOGS" "$CACHE"
install_program
chmod +x "$PLUGIN"/actions/*.sh "$PLUGIN/uninstall.sh" "$PLUGIN/ts/dist/$NAME"
find_program
judge_settings

address
port=${REPLY#* }
cat <<TEXT

Next:
  nself plugin realtime init            # the schema, and the default rooms
  nself plugin realtime server start
  nself plugin realtime status

Endpoints:
  ws://localhost:$port        Socket.IO
  http://localhost:$port${REALTIME_HEALTH_PATH:-/health}
  http://localhost:$port${REALTIME_METRICS_PATH:-/metrics}
TEXT
