#!/usr/bin/env bash
# Makes .venv from the lock files in infra/setup/lock, and builds KenLM's tools where there is a compiler; does nothing
# when all is up to date.
# `bash infra/setup/install.sh` installs what runs; with "dev" also what the tests need.
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
  echo "Millrace needs Python 3.11; $("$python" --version) was found. Set PYTHON=/path/to/python3.11." >&2
  exit 1
}
exec "$python" -m infra.setup.install "$@"
