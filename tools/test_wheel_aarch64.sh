#!/usr/bin/env bash
# Runs an aarch64 wheel on any Linux machine: Debian's CPython for arm64 under qemu-aarch64-static, NumPy's own wheel, and
# the tests of the kernels and of the native backend against the reference.
#
#     tools/test_wheel_aarch64.sh dist/fastbp-*aarch64.whl [test ...]     default: tests/engine/test_kernels.py tests/engine/test_native.py
#
# Needs the packages qemu-user-static and debootstrap of Debian, its mirror (or DEBIAN_MIRROR), PyPI, and root, to unpack
# packages.
set -euo pipefail
export PYTHONSAFEPATH=1  # fastbp is the installed one, in the processes that tests start as well
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wheel=$(realpath "$1")
tests=("${@:2}")
((${#tests[@]})) || tests=(tests/engine/test_kernels.py tests/engine/test_native.py)
python=${PYTHON:-python3}
mirror=${DEBIAN_MIRROR:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

say "CPython for arm64"
root=$work/root
debootstrap --foreign --arch=arm64 --variant=minbase --include=python3 bookworm "$root" ${mirror:+"$mirror"} >"$work/log" 2>&1 ||
    { cat "$work/log"; exit 1; }
for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
"$python" -m pip install --quiet --only-binary=:all: --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --python-version 3.11 --target "$work/packages" \
    "$wheel" pytest hypothesis

# tests that start another Python find this script as sys.executable
printf '#!/bin/sh\nPYTHONPATH=%s exec qemu-aarch64-static -L %s %s/usr/bin/python3.11 "$@"\n' \
    "$work/packages" "$root" "$root" >"$work/python"
chmod +x "$work/python"
printf 'import sys\nsys.executable = "%s"\n' "$work/python" >"$work/packages/sitecustomize.py"
rm -f "$root/usr/lib/python3.11/sitecustomize.py"

say "tests"
"$work/python" -c '
import platform, numpy, fastbp
info = fastbp.cpu_info()
assert info.isa == "neon", info
print(platform.machine(), platform.python_version(), "NumPy", numpy.__version__, info.isas)'
"$work/python" -m pytest -q -p no:cacheprovider "${tests[@]}"
