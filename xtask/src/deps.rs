//! Who may depend on whom: crate arrows, layers, licences, duplicates.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::Metadata;
use crate::process::{capture, cargo, read, root};
use crate::{Error, Result, conclude, licence};

const PAGE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- deps:begin -->";
const END: &str = "<!-- deps:end -->";

/// Two versions of one of these in a build would mean two EVMs or two opinions on a signature.
const ONCE: &[&str] = &["k256", "revm", "secp256k1"];

/// I/O, threads and async that `core` must not even reach through somebody else.
const NOT_IN_CORE: &[&str] = &[
    "async-std",
    "hyper",
    "jsonrpsee",
    "mio",
    "rayon",
    "redb",
    "reqwest",
    "rustls",
    "socket2",
    "tokio",
];

/// C code and assembly, which the guest target has no compiler for.
const NOT_IN_GUEST: &[&str] = &[
    "aurora-engine-modexp-sys",
    "blst",
    "c-kzg",
    "gmp-mpfr-sys",
    "keccak-asm",
    "secp256k1-sys",
    "sha3-asm",
    "zstd-sys",
];

pub fn run(write: bool) -> Result {
    let metadata = Metadata::load()?;
    if write {
        write_table(&metadata)?;
    }
    let mut findings = arrows(&metadata)?;
    findings.extend(layers(&metadata));
    findings.extend(core_is_pure(&metadata));
    findings.extend(guest_is_rust()?);
    findings.extend(licences(&metadata));
    findings.extend(duplicates(&metadata));
    conclude("deps", findings)?;
    let count = metadata.reachable(&metadata.members, true).len();
    println!(
        "  {} crates of our own, {count} in all: arrows, layers, licences",
        metadata.members.len()
    );
    println!("  more than one version: {}", several_versions(&metadata));
    Ok(())
}

/// What the manifests say: folder -> names of our crates it is built with.
fn actual(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let crates = metadata.crates();
    let names: BTreeSet<_> = crates.values().map(|package| &package.name).collect();
    let own = |declared: &BTreeSet<String>| {
        declared.iter().filter(|name| names.contains(name)).cloned().collect()
    };
    crates.iter().map(|(folder, package)| ((*folder).to_owned(), own(&package.declared))).collect()
}

/// What the page says. A row: | `folder` | `crate`, `crate` |
fn documented(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let table = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let rows = table.map_or("", |(table, _)| table).lines();
    rows.filter_map(|row| {
        let mut cells = row.strip_prefix("| `")?.split('|');
        let folder = cells.next()?.trim().trim_end_matches('`');
        let names = cells.next()?.split('`').skip(1).step_by(2);
        Some((folder.to_owned(), names.map(str::to_owned).collect()))
    })
    .collect()
}

fn arrows(metadata: &Metadata) -> Result<Vec<String>> {
    let documented = documented(&read(&root().join(PAGE))?);
    let actual = actual(metadata);
    let mut findings = Vec::new();
    let none = BTreeSet::new();
    let folders: BTreeSet<_> = actual.keys().chain(documented.keys()).collect();
    for folder in folders {
        match (actual.get(folder), documented.get(folder)) {
            (None, _) => findings.push(format!("{PAGE}: `{folder}` is in the table but no crate")),
            (_, None) => findings.push(format!("{PAGE}: `{folder}` is missing in the table")),
            _ => {}
        }
        let is = actual.get(folder).unwrap_or(&none);
        let may = documented.get(folder).unwrap_or(&none);
        let undocumented =
            is.difference(may).map(|to| format!("{folder} -> {to} is not in the table of {PAGE}"));
        let unused =
            may.difference(is).map(|to| format!("{folder} -> {to} is in the table but not used"));
        findings.extend(undocumented.chain(unused));
    }
    if !findings.is_empty() {
        findings.push(
            "if the arrows are meant: `cargo xtask deps --write`, and say why in the commit".into(),
        );
    }
    Ok(findings)
}

fn write_table(metadata: &Metadata) -> Result {
    let path = root().join(PAGE);
    let page = read(&path)?;
    let parts =
        page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let Some((head, tail)) = parts else {
        return conclude("deps", vec![format!("{PAGE} has no `{BEGIN}` … `{END}`")]);
    };
    let mut table = String::from("| crate | is built with |\n|---|---|\n");
    for (folder, names) in actual(metadata) {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = if names.is_empty() { "–".to_owned() } else { names.join(", ") };
        table += &format!("| `{folder}` | {names} |\n");
    }
    let page = format!("{head}{BEGIN}\n{table}{END}{tail}");
    std::fs::write(&path, page).map_err(|source| Error::File { path, source })
}

/// `core` < `host` < `apps`; tests and xtask stand above all, and nothing stands on them.
fn layers(metadata: &Metadata) -> Vec<String> {
    let crates = metadata.crates();
    let layer_of = |folder: &str| match folder.split('/').next() {
        Some("core") => 0,
        Some("host") => 1,
        Some("apps") => 2,
        _ => 3,
    };
    let folder_of: BTreeMap<_, _> =
        crates.iter().map(|(folder, package)| (package.name.as_str(), *folder)).collect();
    let mut findings = Vec::new();
    for (folder, names) in actual(metadata) {
        for to in names.iter().filter_map(|name| folder_of.get(name.as_str())) {
            if layer_of(to) > layer_of(&folder) || layer_of(to) == 3 {
                findings
                    .push(format!("{folder} must not depend on {to}: it lies in a layer above"));
            }
        }
        if folder == "apps/guest" {
            let host = names.iter().filter(|name| folder_of[name.as_str()].starts_with("host/"));
            findings.extend(
                host.map(|name| format!("{folder} must not depend on {name}: it is proved")),
            );
        }
    }
    findings
}

fn core_is_pure(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for id in &metadata.members {
        let package = &metadata.packages[id];
        if !package.folder.as_deref().is_some_and(|folder| folder.starts_with("core/")) {
            continue;
        }
        for reached in metadata.reachable([id], false) {
            let name = &metadata.packages[reached].name;
            if NOT_IN_CORE.contains(&name.as_str()) {
                findings.push(format!(
                    "{} reaches {name}: core has no I/O and no threads",
                    package.name
                ));
            }
        }
    }
    findings
}

/// Features as the guest has them, which `cargo metadata` cannot say: it unifies the workspace.
fn guest_is_rust() -> Result<Vec<String>> {
    let args = ["tree", "--locked", "-p", "annex-guest", "-e", "normal", "--prefix", "none"];
    let tree = capture(&mut cargo(&args))?;
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let found = NOT_IN_GUEST.iter().filter(|name| names.contains(*name));
    Ok(found
        .map(|name| format!("annex-guest reaches {name}: put it behind the feature `host` (cargo tree -p annex-guest -i {name})"))
        .collect())
}

fn licences(metadata: &Metadata) -> Vec<String> {
    let ids = metadata.reachable(&metadata.members, true);
    let packages = ids.into_iter().map(|id| &metadata.packages[id]);
    packages
        .filter(|package| !package.licence.as_deref().is_some_and(licence::allowed))
        .map(|package| {
            let stated = package.licence.as_deref().unwrap_or("no licence stated");
            format!(
                "{} {}: {stated} (allow-list: xtask/src/licence.rs)",
                package.name, package.version
            )
        })
        .collect()
}

fn versions(metadata: &Metadata) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for id in metadata.reachable(&metadata.members, true) {
        let package = &metadata.packages[id];
        versions.entry(package.name.as_str()).or_default().insert(package.version.as_str());
    }
    versions
}

fn duplicates(metadata: &Metadata) -> Vec<String> {
    let versions = versions(metadata);
    let twice = ONCE.iter().filter_map(|name| Some((name, versions.get(name)?)));
    twice
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            let list: Vec<_> = versions.iter().copied().collect();
            format!(
                "{name} is built more than once: {} (cargo tree -i {name}@VERSION)",
                list.join(", ")
            )
        })
        .collect()
}

fn several_versions(metadata: &Metadata) -> String {
    let versions = versions(metadata);
    let several = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let list: Vec<_> =
        several.map(|(name, versions)| format!("{name} ×{}", versions.len())).collect();
    if list.is_empty() { "none".into() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::documented;

    #[test]
    fn table_is_read() {
        let page = "x\n| `not/this` | `a` |\n<!-- deps:begin -->\n| crate | is built with |\n|---|---|\n\
                    | `core/types` | – |\n| `core/evm` | `annex-state`, `annex-types` |\n<!-- deps:end -->\n";
        let table = documented(page);
        assert_eq!(table.len(), 2);
        assert!(table["core/types"].is_empty());
        assert_eq!(table["core/evm"].iter().collect::<Vec<_>>(), ["annex-state", "annex-types"]);
    }
}
