#!/usr/bin/env bash
# nself plugin realtime init: brings the database's schema up to date and creates the default rooms. Safe to repeat, also
# while gateways run.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/plugin.sh"

find_program
load_settings
realtime init "$@"
