//! Build tasks: `cargo xtask NAME`.
fn main() {}
