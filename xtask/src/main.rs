//! The workshop's own commands.

fn main() {}
