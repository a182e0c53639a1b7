#!/bin/sh
# Writes src/generated again from proto; `cargo xtask codegen` calls this.
exec cargo run --quiet -p api-codegen
