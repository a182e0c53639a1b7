//! The deterministic world: whole hosts on virtual time, in one thread.
