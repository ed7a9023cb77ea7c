//! What `cargo metadata` says about the workspace: packages, and who depends on whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use serde_json::Value;

use crate::process::{capture, cargo, root};
use crate::{Error, Result};

pub struct Package {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    /// Folder relative to the workspace root; `None` for packages from elsewhere.
    pub folder: Option<String>,
    /// Packages needed to build it, by id.
    pub needs: Vec<String>,
    /// Packages only its tests need, by id.
    pub dev_needs: Vec<String>,
    /// Names in its `[dependencies]` and `[build-dependencies]`, optional ones included.
    pub declared: BTreeSet<String>,
}

pub struct Metadata {
    pub packages: HashMap<String, Package>,
    /// Ids of the workspace's own packages.
    pub members: Vec<String>,
    pub target_directory: PathBuf,
}

impl Metadata {
    pub fn load() -> Result<Self> {
        let args = ["metadata", "--format-version=1", "--locked"];
        let text = capture(&mut cargo(&args))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|source| Error::Output { command: "cargo metadata".into(), source })?;
        Ok(Self::parse(&value))
    }

    fn parse(value: &Value) -> Self {
        let mut packages: HashMap<_, _> = items(&value["packages"])
            .map(|package| (text(&package["id"]), package_of(package)))
            .collect();
        for node in items(&value["resolve"]["nodes"]) {
            let Some(package) = packages.get_mut(&text(&node["id"])) else { continue };
            for need in items(&node["deps"]) {
                let dev_only = items(&need["dep_kinds"]).all(|kind| kind["kind"] == "dev");
                let list = if dev_only { &mut package.dev_needs } else { &mut package.needs };
                list.push(text(&need["pkg"]));
            }
        }
        Self {
            packages,
            members: items(&value["workspace_members"]).map(text).collect(),
            target_directory: text(&value["target_directory"]).into(),
        }
    }

    /// The workspace's packages by folder.
    pub fn crates(&self) -> BTreeMap<&str, &Package> {
        let own = self.members.iter().map(|id| &self.packages[id]);
        own.filter_map(|package| Some((package.folder.as_deref()?, package))).collect()
    }

    /// Everything that building `from` needs (with `tests`: or testing it), itself included.
    pub fn reachable<'a>(
        &'a self,
        from: impl IntoIterator<Item = &'a String>,
        tests: bool,
    ) -> BTreeSet<&'a str> {
        let mut open: Vec<&String> = from.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id.as_str()) {
                let package = &self.packages[id];
                open.extend(&package.needs);
                // A dependency's own tests are not built.
                if tests && self.members.contains(id) {
                    open.extend(&package.dev_needs);
                }
            }
        }
        seen
    }
}

fn package_of(value: &Value) -> Package {
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let folder = manifest
        .parent()
        .and_then(|folder| folder.strip_prefix(root()).ok())
        .map(|folder| folder.to_string_lossy().into_owned());
    let declared = items(&value["dependencies"])
        .filter(|need| need["kind"] != "dev")
        .map(|need| text(&need["name"]))
        .collect();
    Package {
        name: text(&value["name"]),
        version: text(&value["version"]),
        licence: value["license"].as_str().map(str::to_owned),
        folder,
        needs: Vec::new(),
        dev_needs: Vec::new(),
        declared,
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
