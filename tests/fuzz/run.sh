#!/bin/sh
# Builds the fuzz targets with libFuzzer and runs each: run.sh SECONDS [TARGET…]
set -eu
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
RUSTFLAGS="$(echo $coverage) --cfg fuzzing -Zsanitizer=address" \
    cargo +nightly build --quiet --release --locked --target "$host" $(printf -- '--bin %s ' "$@")

for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "fuzz $target for $seconds s"
    "$target_dir/$host/release/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 \
        -max_len=4096 -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/" \
        "corpus/$target" "seeds/$target" 2>&1 |
        tee "artifacts/$target/log" | grep -E 'ERROR|SUMMARY|panicked|number_of_executed_units|peak_rss' || true
    ! grep -qE 'ERROR|SUMMARY' "artifacts/$target/log" || exit 1
done
