#!/usr/bin/env bash
# The lower bounds in pyproject.toml, tried: fastbp is built with the oldest build tools and its whole test suite run with
# the oldest of everything that it says it works with, on the oldest CPython. Both run without a network.
#
#     PYTHON=python3.11 tools/test_oldest.sh
#
# Left out are torch, whose oldest version is not on PyPI for the CPU alone, and what only development needs. Needs PyPI
# to get the packages, and unshare and ip (util-linux, iproute2) as root for the part without a network.
set -euo pipefail
export PYTHONSAFEPATH=1  # fastbp is the installed one, in the processes that tests start as well
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3.11}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

say "the oldest versions"
"$python" -m venv "$work/env"
PATH=$work/env/bin:$PATH
python - >"$work/oldest.txt" <<'EOF'
import re, tomllib
with open("pyproject.toml", "rb") as file:
    config = tomllib.load(file)
extras = config["project"]["optional-dependencies"]
wanted = [*config["build-system"]["requires"], *config["project"]["dependencies"]]
wanted += [line for extra in ("sklearn", "table", "plot", "save", "onnx", "tensorboard", "test") for line in extras[extra]]
wanted += [line for line in extras["dev"] if line.startswith("onnxruntime")]
oldest = {}
for line in wanted:
    if not line.startswith("fastbp["):
        name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups()
        oldest.setdefault(name, version)
        assert oldest[name] == version, f"{name} has two lower bounds: {oldest[name]} and {version}"
oldest["pyparsing"] = "3.1"  # of matplotlib, whose oldest version meets deprecations in the newest
print(*(f"{name}=={version}" for name, version in oldest.items()), sep="\n")
EOF
pip install --quiet --only-binary=:all: wheel -r "$work/oldest.txt"
python --version
paste -sd' ' "$work/oldest.txt"

alone=()
if unshare --net ip link set lo up 2>/dev/null; then
    # the network that is left is the machine's own, for the tests that drive a browser
    alone=(unshare --net sh -c 'ip link set lo up && exec "$@"' sh)
    [[ -z $("${alone[@]}" ip route) ]] || { echo "there is still a network"; exit 1; }
else
    echo "left out: no right to take the network away"
fi

say "build${alone:+, without a network}"
mkdir "$work/source"
cp -r setup.py pyproject.toml MANIFEST.in README.md LICENSE CHANGELOG.md CONTRIBUTING.md docs examples fastbp src_c tests \
    tools benchmarks "$work/source"
cd "$work/source"
find . -name '*.so' -delete
"${alone[@]}" pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir "$work/wheel" .
"${alone[@]}" pip install --quiet --no-deps --no-index "$work"/wheel/*.whl
find . -name '*.so' -delete

say "suite${alone:+, without a network}"
"${alone[@]}" python -m pytest -q -p no:cacheprovider
