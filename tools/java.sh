#!/bin/sh
# Has Java 17+ and Maven ready, and the jars of the broker that tests run. usage: tools/java.sh [PYTHON]
# Missing programs are installed as root on Debian; otherwise it says what to install and fails.
set -eu
cd "$(dirname "$0")/.."
sh tools/debian.sh java:openjdk-17-jre-headless mvn:maven
version="$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)"
if [ "${version:-0}" -lt 17 ]; then
  echo "java: Kafka needs Java 17 or later, found ${version:-an unknown version} at $(command -v java)" >&2
  echo "java: install it (Debian: apt-get install openjdk-17-jre-headless) and put it first in PATH" >&2
  exit 1
fi
python="${1:-.venv/bin/python}"
"$python" -m tests.services.kafka --resolve >/dev/null
