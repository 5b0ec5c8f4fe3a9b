# Everything that CI runs.
check:
    ./scripts/test

# Only the end-to-end tests on the real binary.
e2e *ARGS:
    cargo test -p portcullis --test e2e {{ARGS}}

# The demo, running; or checked line by line: `just demo --check`.
demo *ARGS:
    ./scripts/demo {{ARGS}}

# Races, fault runs and property tests at full size: 10,000 histories of the simulator (PORTCULLIS_SEED
# says which), 100,000 redemptions of 1,000 tokens, 11,000 racing reviews, 200 lives that end by kill -9,
# 200 rounds of full disks, failed syncs and I/O errors under the record.
# Then each fuzz target for an hour.
soak:
    PORTCULLIS_SOAK=200 PROPTEST_CASES=20000 cargo test --workspace --no-fail-fast -- --show-output
    ./scripts/fuzz

# The fuzz targets, or the named ones, for PORTCULLIS_FUZZ_SECONDS each.
fuzz *TARGETS:
    ./scripts/fuzz {{TARGETS}}

# The binary as it is shipped, optimised by a profile of real traffic.
release *ARGS:
    ./scripts/release {{ARGS}}

# Comparisons with nginx and Envoy; writes bench/out/, read bench/README.md first.
bench *ARGS:
    ./bench/run {{ARGS}}
