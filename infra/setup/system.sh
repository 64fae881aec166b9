#!/usr/bin/env bash
# Installs the Debian packages that compiling and the language-model tools need, where that is possible; with "tests"
# also those that only the tests use, services among them. Where it is not, the parts that need them say so themselves.
set -euo pipefail
cd "$(dirname "$0")"
lists=(apt-packages.txt)
[ "${1:-}" = tests ] && lists+=(apt-packages-tests.txt)
mapfile -t packages < <(grep -hv '^#' "${lists[@]}" | grep -v '^$')
command -v dpkg-query >/dev/null || exit 0
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "Not installed, and not root: ${missing[*]}. Install them with: sudo apt-get install ${missing[*]}" >&2
  exit 0
fi
echo "Installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
