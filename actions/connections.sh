#!/usr/bin/env bash
# nself plugin realtime connections [--json …]: who is connected, on all nodes.
set -euo pipefail
# shellcheck source=actions/lib/plugin.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/plugin.sh"

find_program
load_settings
realtime connections "$@"
