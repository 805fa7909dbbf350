#!/bin/sh
# Installs the Debian packages that tests need, when missing. usage: tools/debian.sh PROGRAM:PACKAGE..
# As root it installs; otherwise it names what is missing and fails, so that no test is skipped in silence.
set -eu
missing=""
for pair in "$@"; do
  program="${pair%%:*}"
  package="${pair#*:}"
  case "$program" in
    /*) [ -e "$program" ] || missing="$missing $package" ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1 || missing="$missing $package" ;;
  esac
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "debian: installing$missing" >&2
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "debian: these packages are needed:$missing" >&2
  echo "debian: install them (as root: apt-get install$missing) and try again" >&2
  exit 1
fi
