# Everyday commands. `just` lists them; CONTRIBUTING.md has more. https://just.systems

[private]
default:
    @just --list --unsorted

# Test an area, or only the tests whose names contain NAME: `just test rpc create_token`
test area='all' *names:
    #!/usr/bin/env bash
    set -euo pipefail
    # `--workspace` with one target: libraries then have the features of `cargo test --workspace` and are compiled once.
    case '{{ area }}' in
        all) targets=(--workspace --all-targets) ;;
        rpc | process | store | limits | tls | webhook | bad_input | sdk | fake_service | harness | transport | properties | protocol)
            targets=(--workspace --test '{{ area }}') ;;
        units) targets=(--workspace --lib) ;;
        *)
            echo 'Areas: all units rpc process store limits tls webhook bad_input sdk fake_service harness transport properties protocol' >&2
            exit 2 ;;
    esac
    if cargo nextest --version > /dev/null 2>&1; then
        cargo build --quiet "${targets[@]}" --bin with-postgres
        "${CARGO_TARGET_DIR:-target}/debug/with-postgres" cargo nextest run "${targets[@]}" {{ names }}
    else
        cargo test "${targets[@]}" -- {{ names }}
    fi

# Check formatting, lints and the directions of dependencies
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    .ci/check-dependencies

# Format the code
fmt:
    cargo fmt --all

# Start a throw-away installation on loopback: `just dev --once`
dev *arguments:
    cargo run -- dev {{ arguments }}

# Write the schema of each version to crates/tokend-store/schema, after adding a migration
schema:
    TOKEND_UPDATE_SCHEMA=1 cargo test --workspace --test store schema::

# Build and open the documentation
doc:
    cargo doc --workspace --no-deps --open

# Run all that a change has to pass
ci:
    bash .ci/run
