//! What cargo says: our own crates and their manifests from `cargo metadata`, and what is
//! really built from `cargo tree` (`metadata` also lists optional crates that no feature turns on).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::process::{capture, cargo, root};
use crate::{Error, Result};

/// A crate of this workspace.
pub struct Crate {
    pub name: String,
    /// Names in its `[dependencies]` and `[build-dependencies]`, optional ones included.
    pub declared: BTreeSet<String>,
}

pub struct Metadata {
    /// By folder, relative to the root.
    pub crates: BTreeMap<String, Crate>,
    pub target_directory: PathBuf,
}

impl Metadata {
    pub fn load() -> Result<Self> {
        let args = ["metadata", "--format-version=1", "--no-deps", "--locked"];
        let text = capture(&mut cargo(&args))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|source| Error::Output { command: "cargo metadata".into(), source })?;
        Ok(Self {
            crates: items(&value["packages"]).map(crate_of).collect(),
            target_directory: text_of(&value["target_directory"]).into(),
        })
    }
}

fn crate_of(package: &Value) -> (String, Crate) {
    let manifest = PathBuf::from(text_of(&package["manifest_path"]));
    let folder = manifest.parent().unwrap_or(&manifest);
    let folder = folder.strip_prefix(root()).unwrap_or(folder);
    let declared = items(&package["dependencies"])
        .filter(|need| need["kind"] != "dev")
        .map(|need| text_of(&need["name"]))
        .collect();
    let name = text_of(&package["name"]);
    (folder.to_string_lossy().into_owned(), Crate { name, declared })
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A package of a build, ours or another's.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Built {
    pub name: String,
    pub version: String,
    /// SPDX expression; empty if the package states none.
    pub licence: String,
}

/// Everything `cargo tree` lists for these arguments, with the features of that very build.
pub fn built(args: &[&str]) -> Result<BTreeSet<Built>> {
    let fixed = ["tree", "--locked", "--prefix", "none", "--format", "{p}\t{l}"];
    let tree = capture(cargo(&fixed).args(args))?;
    let parse = |line: &str| {
        // `name v1.2.3 (/path) (proc-macro)`, a tab, the licence; `(*)` marks a repetition.
        let (package, licence) = line.split_once('\t')?;
        let mut words = package.split(' ');
        Some(Built {
            name: words.next()?.to_owned(),
            version: words.next()?.trim_start_matches('v').to_owned(),
            licence: licence.trim_end_matches("(*)").trim().to_owned(),
        })
    };
    Ok(tree.lines().filter_map(parse).collect())
}
