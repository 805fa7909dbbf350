#!/bin/sh
# Makes .venv with the locked packages (peers: .venv-peers). usage: tools/setup.sh server|dev|peers
# Plain python3 (3.11 or newer) is enough; Debian's missing venv module is installed when run as root.
set -eu
cd "$(dirname "$0")/.."
kind="${1:?usage: tools/setup.sh server|dev|peers}"
venv=.venv
case "$kind" in
  server) lock=requirements.lock ;;
  dev) lock=requirements-dev.lock ;;
  peers) lock=requirements-peers.lock; venv=.venv-peers ;;
  *) echo "setup: unknown kind '$kind', expected server, dev or peers" >&2; exit 2 ;;
esac

python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "setup: Python 3.11 or newer is needed; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
  echo "setup: install it, or name another one: make PYTHON=/path/to/python3.12" >&2
  exit 1
}

stamp="$venv/.$kind-$(cat "$lock" pyproject.toml | cksum | cut -d' ' -f1)"
[ -e "$stamp" ] && exit 0
# A developers' environment serves every purpose; do not take packages away from it.
[ "$kind" = server ] && ls .venv/.dev-* >/dev/null 2>&1 && exit 0

if ! [ -x "$venv/bin/pip" ]; then
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
      echo "setup: '$python' lacks venv; install it (Debian: apt-get install python3-venv) and try again" >&2
      exit 1
    fi
  fi
  "$python" -m venv "$venv"
fi
echo "setup: installing $(grep -c '==' "$lock") locked packages into $venv (about a minute)" >&2
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
if [ "$kind" != peers ]; then
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
rm -f "$venv"/.server-* "$venv"/.dev-* "$venv"/.peers-*
: > "$stamp"
