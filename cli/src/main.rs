//! The `pail` command.
fn main() {}
