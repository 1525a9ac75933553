#!/bin/sh
# Builds the fuzz targets with libFuzzer and runs each: run.sh SECONDS [TARGET…]
#
# A stable toolchain suffices: the coverage that libFuzzer wants is made by flags of LLVM. The flags go to
# what runs on the target only (`--target`), so build scripts and macros are built without.
set -eu
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')

host=$(rustc -vV | sed -n 's/^host: //p')
# A target folder of its own, so that neither build throws the other's away.
case ${CARGO_TARGET_DIR:-../../target} in
/*) CARGO_TARGET_DIR=$CARGO_TARGET_DIR/fuzz ;;
*) CARGO_TARGET_DIR=$PWD/../../target/fuzz ;;
esac
export CARGO_TARGET_DIR
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-pc-table"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-simplifycfg-branch-fold-threshold=0 --cfg fuzzing"
export RUSTFLAGS
# Every target is built, whichever are run: another choice must not build anything anew.
cargo build --quiet --release --locked --target "$host" --bins

failed=
for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    dictionary=
    [ ! -e "dictionaries/$target" ] || dictionary=-dict=dictionaries/$target
    log=artifacts/$target/log
    status=0
    # shellcheck disable=SC2086
    "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=4096 -print_final_stats=1 -artifact_prefix="artifacts/$target/" $dictionary \
        "corpus/$target" "seeds/$target" >"$log" 2>&1 || status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$status" = 0 ] && [ "${executions:-0}" -gt 0 ]; then
        echo "fuzz $target: $executions executions in $seconds s"
    else
        failed="$failed $target"
        echo "fuzz $target: FAILED (exit status $status), the end of tests/fuzz/$log:"
        tail -n 30 "$log"
    fi
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
