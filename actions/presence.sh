#!/usr/bin/env bash
# nself plugin realtime presence [--json …]: who is online, away, busy or offline.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/plugin.sh"

find_program
load_settings
realtime presence "$@"
