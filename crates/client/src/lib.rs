//! The command line's client: ctl tables and the benchmark.
