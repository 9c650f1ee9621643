#!/usr/bin/env bash
# Installs a wheel for this machine into a fresh environment of each Python given, and runs the whole test suite from it;
# then trains on emulated CPUs without AVX-512, and without AVX, to see that the wheel chooses its kernels by itself.
#
#     tools/test_wheels.sh dist/fastbp-*x86_64.whl python3.11 python3.12 python3.13
#
# Needs PyPI, and for the emulated CPUs Debian's qemu-user-static (left out, and said so, where it is missing).
set -euo pipefail
export PYTHONSAFEPATH=1  # fastbp is the installed one, in the processes that tests start as well
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wheel=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

for python in "${@:2}"; do
    say "$("$python" --version)"
    "$python" -m venv "$work/env"
    "$work/env/bin/pip" install --quiet "fastbp[test] @ file://$wheel"
    "$work/env/bin/python" -c 'import fastbp; assert "site-packages" in fastbp.__file__, fastbp.__file__'
    "$work/env/bin/python" -m pytest -q -p no:cacheprovider
    if [[ $python == "${*: -1}" ]]; then
        for cpu in Nehalem=generic Haswell=avx2; do
            say "${cpu%=*}, emulated"
            if ! command -v qemu-x86_64-static >/dev/null; then
                echo "left out: no qemu-x86_64-static"
                continue
            fi
            interpreter=$("$work/env/bin/python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
            packages=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
            # NumPy's BLAS takes an emulated Nehalem for a Haswell, if it is not told
            PYTHONPATH=$packages OPENBLAS_CORETYPE=${cpu%=*} \
                qemu-x86_64-static -cpu "${cpu%=*}" "$interpreter" - "${cpu#*=}" <<'EOF' \
                2> >(grep -v "doesn't support requested feature" >&2)
import sys, numpy as np, fastbp as fb
assert fb.cpu_info().isa == sys.argv[1], fb.cpu_info()
fb.set_num_threads(1)
x = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)
y = np.sin(x.sum(1, keepdims=True))
losses = []
for backend in "native", "reference":
    net = fb.Sequential(fb.Linear(8, 33), fb.GELU(), fb.Linear(33, 1), seed=0, backend=backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(1e-2))
    losses.append(trainer.fit(x, y, epochs=20, batch_size=32, progress=False)["loss"])
np.testing.assert_allclose(*losses, rtol=1e-3)
print(f"{fb.cpu_info().isas}: loss {losses[0][0]:.4f} to {losses[0][-1]:.4f}, the reference's {losses[1][-1]:.4f}")
EOF
        done
    fi
    rm -rf "$work/env"
done
