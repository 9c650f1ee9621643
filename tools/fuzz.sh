#!/usr/bin/env bash
# Fuzzes for a while: kernels, model files, arrays, callbacks, threads and tables (tests/fuzzing.py), and random networks
# against the reference and central differences (tests/properties/test_random_graphs.py). New cases each time.
#
#   tools/fuzz.sh [seconds]     600 by default, shared out evenly
#
# fastbp must be installed, or built in place and on PYTHONPATH. Ends with 1 at the first finding; what it prints there
# runs the case again. Put such a case into tests/properties/test_fuzz.py, or as an @example into tests/properties/test_random_graphs.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
fuzzers=(kernels files arrays callbacks threads schemas tables)
share=$((${1:-600} / (${#fuzzers[@]} + 1)))

for fuzzer in "${fuzzers[@]}"; do
    PYTHONPATH="${PYTHONPATH:-}:tests" "$python" tests/fuzzing.py "$fuzzer" "$share"
done
end=$((SECONDS + share)) runs=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
while ((SECONDS < end)); do
    "$python" -m pytest -q -p no:cacheprovider --hypothesis-profile=fuzz --hypothesis-seed="$RANDOM$RANDOM" \
        tests/properties/test_random_graphs.py >"$log" || { cat "$log"; exit 1; }
    runs=$((runs + 1))
done
echo "graphs: $runs runs of 900 networks"
