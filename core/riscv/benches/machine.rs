//! Speed of the machine.

fn main() {}
