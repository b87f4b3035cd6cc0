#!/usr/bin/env bash
# nself plugin realtime integrate: the settings that the project's .env needs. Instead of the loader's own answer, which would
# make a custom service of another kind.
set -euo pipefail

cat <<'TEXT'

Put into the project's .env:

  # Redis, the one thing that is required
  REALTIME_REDIS_URL=redis://localhost:6379
  # Whose tokens are believed; without a secret nobody gets in
  REALTIME_JWT_SECRET=
  # Where browsers may come from
  REALTIME_CORS_ORIGIN=http://localhost:3000
  # Postgres of the archive; DATABASE_URL or POSTGRES_* serve as well
  REALTIME_DATABASE_URL=

Then:

  nself plugin realtime init            # the schema, and the default rooms
  nself plugin realtime server start    # on this host
  nself build && nself restart          # or as a container, from the plugin's Dockerfile

Every setting, with its default, is in .env.example.

TEXT
