//! The Chamberlain server.
fn main() {}
