#!/usr/bin/env bash
# Looks for errors that tests cannot see: memory errors, undefined behaviour, data races, leaks. Needs gcc, and valgrind
# for the last part; the Python that runs it needs what the tests need.
#
#   tools/sanitize.sh                    all of it (half an hour on two cores)
#   tools/sanitize.sh smoke              AddressSanitizer and UBSan on the kernels, plans and memory alone
#   tools/sanitize.sh address|thread|valgrind
#
# The sources are copied to a temporary folder and built there. Ends with 1 at the first finding.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
part=${1:-all}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

build() { # folder, compiler flags
    mkdir -p "$work/$1"
    (cd "$root" && tar -cf - --exclude='*.so' --exclude=build --exclude=.git --exclude='.*_cache' .) | tar -xf - -C "$work/$1"
    # shorter to compile, and with line numbers in what is found
    sed -i 's/"-O3"/"-O1"/; s/"-g0"/"-g1"/' "$work/$1/setup.py"
    (cd "$work/$1" && CC=${CC:-gcc} CFLAGS="$2" LDFLAGS="$2" "$python" setup.py --quiet build_ext --inplace)
}

address() { # what pytest runs
    say "AddressSanitizer and UndefinedBehaviorSanitizer: $*"
    local flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
    gcc -O1 -g -std=c11 -fsanitize=address,undefined -I"$root/src_c" "$root/tests/c/pool_driver.c" "$root/src_c/pool.c" \
        -pthread -o "$work/pool_address"
    "$work/pool_address"
    build address "$flags"
    # Python itself leaks on purpose: valgrind looks for leaks
    (cd "$work/address" && PYTHONPATH="$work/address" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        "$python" -m pytest -q -p no:cacheprovider "$@")
}

thread() {
    say "ThreadSanitizer: the thread pool"
    gcc -O1 -g -std=c11 -fsanitize=thread -I"$root/src_c" "$root/tests/c/pool_driver.c" "$root/src_c/pool.c" -pthread \
        -o "$work/pool_thread"
    TSAN_OPTIONS=halt_on_error=1 "$work/pool_thread"
    say "the thread pool with forks, which sanitizers do not bear"
    gcc -O2 -std=c11 -I"$root/src_c" "$root/tests/c/pool_driver.c" "$root/src_c/pool.c" -pthread -o "$work/pool"
    for _ in {1..10}; do timeout 60 "$work/pool"; done
}

memcheck() {
    say "valgrind: a short training"
    build valgrind ""
    (cd "$work/valgrind" && PYTHONPATH="$work/valgrind" PYTHONMALLOC=malloc FASTBP_NUM_THREADS=2 valgrind --quiet --num-callers=40 \
        --leak-check=full --show-leak-kinds=definite --xml=yes --xml-file="$work/valgrind.xml" \
        "$python" tools/short_training.py)
    # Python and NumPy are not ours to mend: count what has our code on its stack
    "$python" - "$work/valgrind.xml" <<'END'
import sys
import xml.etree.ElementTree as ET
errors = ET.parse(sys.argv[1]).getroot().findall("error")
ours = [e for e in errors if any("fastbp" in f.findtext("obj", "") for s in e.findall("stack") for f in s.findall("frame"))]
for e in ours:
    print(e.findtext("kind"), e.findtext("what") or e.findtext("xwhat/text"))
    for f in e.find("stack").findall("frame"):
        print("   ", f.findtext("fn"), f.findtext("file"), f.findtext("line"))
print(f"valgrind: {len(errors)} findings in all, {len(ours)} with fastbp on the stack")
sys.exit(bool(ours))
END
}

native=(tests/engine/test_kernels.py tests/engine/test_native.py tests/core/test_memory.py tests/properties/test_random_graphs.py
    tests/properties/test_fuzz.py tests/properties/test_extremes.py)
# these load libraries that are not built for sanitizers
for fuzzer in schemas tables; do
    native+=(--deselect "tests/properties/test_fuzz.py::test_a_short_run[$fuzzer]")
done
# killing processes at every moment takes hours where each takes so long to start; and ASan's own locks do not survive a
# fork while another thread runs. The other two start programs that do without this environment
all=(tests --ignore tests/views/explanations/test_page.py
    --deselect tests/commands/test_command_line.py::test_a_forced_instruction_set_is_used_or_refused
    --deselect tests/training/test_checkpoint.py::test_killed_at_any_moment
    --deselect tests/properties/test_concurrency.py::test_fork_while_another_thread_trains)
case $part in
    smoke) address "${native[@]}" ;;
    address) address "${all[@]}" ;;
    thread) thread ;;
    valgrind) memcheck ;;
    all) thread; address "${all[@]}"; memcheck ;;
    *) echo "$0: $part is none of smoke, address, thread, valgrind, all" >&2; exit 2 ;;
esac
say "no findings"
