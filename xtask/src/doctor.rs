//! Which tools this machine lacks, and the command that installs each.

use crate::process::version;
use crate::{Error, Result, guest};

struct Tool {
    name: &'static str,
    probe: &'static [&'static str],
    /// Smallest major and minor version, where one matters.
    least: Option<(u32, u32)>,
    install: &'static str,
}

const RUSTUP: &str = "curl https://sh.rustup.rs -sSf | sh -s -- --default-toolchain 1.95";
const NODE: &str = "see https://nodejs.org, or apt-get install nodejs npm (version 20 or newer)";

const REQUIRED: &[Tool] = &[
    Tool { name: "cargo", probe: &["--version"], least: Some((1, 95)), install: RUSTUP },
    Tool { name: "rustc", probe: &["--version"], least: Some((1, 95)), install: RUSTUP },
    Tool {
        name: "rustfmt",
        probe: &["--version"],
        least: None,
        install: "rustup component add rustfmt",
    },
    Tool {
        name: "cargo-clippy",
        probe: &["--version"],
        least: None,
        install: "rustup component add clippy",
    },
    Tool {
        name: "cc",
        probe: &["--version"],
        least: None,
        install: "apt-get install build-essential",
    },
    Tool { name: "node", probe: &["--version"], least: Some((20, 0)), install: NODE },
    Tool { name: "npm", probe: &["--version"], least: None, install: NODE },
    Tool { name: "git", probe: &["--version"], least: None, install: "apt-get install git" },
];

const OPTIONAL: &[Tool] = &[Tool {
    name: "cargo-fuzz",
    probe: &["--version"],
    least: None,
    install: "cargo install cargo-fuzz (for `cargo xtask soak`)",
}];

pub fn run() -> Result {
    let mut missing = Vec::new();
    for tool in REQUIRED {
        missing.extend(examine(tool).map(|problem| format!("{} ({problem})", tool.name)));
    }
    for tool in OPTIONAL {
        examine(tool);
    }
    let guest = guest::missing();
    if guest.is_empty() {
        println!("ok       guest toolchain");
    } else {
        println!(
            "optional guest toolchain: lacks {}\n         {}",
            guest.join(", "),
            guest::INSTALL
        );
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing { tools: missing }) }
}

/// Prints one line; what is wrong with the tool, if anything.
fn examine(tool: &Tool) -> Option<String> {
    let found = version(tool.name, tool.probe);
    let problem = match (&found, tool.least) {
        (None, _) => Some("not found".to_owned()),
        (Some(found), Some(least)) if numbers(found) < least => {
            Some(format!("{found} is older than {}.{}", least.0, least.1))
        }
        _ => None,
    };
    match &problem {
        None => println!("ok       {:<14} {}", tool.name, found.unwrap_or_default()),
        Some(problem) => {
            println!("missing  {:<14} {problem}\n         {}", tool.name, tool.install)
        }
    }
    problem
}

/// Major and minor version in a line such as `cargo 1.95.0 (f2d3ce0bd 2026-03-21)` or `v20.20.2`.
fn numbers(line: &str) -> (u32, u32) {
    let word = line
        .split_whitespace()
        .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()));
    let mut parts = word
        .unwrap_or_default()
        .trim_start_matches('v')
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions() {
        assert_eq!(numbers("cargo 1.95.0 (f2d3ce0bd 2026-03-21)"), (1, 95));
        assert_eq!(numbers("v20.20.2"), (20, 20));
        assert_eq!(numbers("rustc 1.96.0-nightly"), (1, 96));
        assert_eq!(numbers("nothing"), (0, 0));
    }
}
