//! Who may depend on whom: crate arrows, layers, licences, duplicates.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::{Built, Metadata, built};
use crate::process::{read, root};
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
    let everything = built(&["--workspace", "-e", "normal,build,dev"])?;
    let mut findings = arrows(&metadata)?;
    findings.extend(layers(&metadata));
    findings.extend(core_is_pure(&metadata)?);
    findings.extend(guest_is_rust()?);
    findings.extend(licences(&everything));
    findings.extend(duplicates(&everything));
    conclude("deps", findings)?;
    let (own, all) = (metadata.crates.len(), everything.len());
    println!("  {own} crates of our own, {all} in all: arrows, layers, licences");
    println!("  more than one version: {}", several_versions(&everything));
    Ok(())
}

/// What the manifests say: folder -> names of our crates it is built with.
fn actual(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let names: BTreeSet<_> = metadata.crates.values().map(|it| &it.name).collect();
    let own = |declared: &BTreeSet<String>| {
        declared.iter().filter(|name| names.contains(name)).cloned().collect()
    };
    metadata.crates.iter().map(|(folder, it)| (folder.clone(), own(&it.declared))).collect()
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
    let layer_of = |folder: &str| match folder.split('/').next() {
        Some("core") => 0,
        Some("host") => 1,
        Some("apps") => 2,
        _ => 3,
    };
    let folder_of: BTreeMap<_, _> =
        metadata.crates.iter().map(|(folder, it)| (it.name.as_str(), folder.as_str())).collect();
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

fn core_is_pure(metadata: &Metadata) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let core = metadata.crates.iter().filter(|(folder, _)| folder.starts_with("core/"));
    for (folder, it) in core {
        let reached = built(&["-p", &it.name, "-e", "normal"])?;
        let foreign = reached.iter().filter(|it| NOT_IN_CORE.contains(&it.name.as_str()));
        findings.extend(
            foreign.map(|it| format!("{folder} reaches {}: core has no I/O, no threads", it.name)),
        );
    }
    Ok(findings)
}

/// Features as the guest has them. Its target is none that this cargo knows, so all are asked for.
fn guest_is_rust() -> Result<Vec<String>> {
    let reached = built(&["-p", "annex-guest", "-e", "normal", "--target", "all"])?;
    let foreign = reached.iter().filter(|it| NOT_IN_GUEST.contains(&it.name.as_str()));
    Ok(foreign
        .map(|it| {
            let name = &it.name;
            format!("apps/guest reaches {name}: put it behind the feature `host` (cargo tree -p annex-guest -i {name})")
        })
        .collect())
}

fn licences(everything: &BTreeSet<Built>) -> Vec<String> {
    let refused = everything.iter().filter(|it| !licence::allowed(&it.licence));
    refused
        .map(|it| {
            let stated = if it.licence.is_empty() { "no licence stated" } else { &it.licence };
            format!("{} {}: {stated} (allow-list: xtask/src/licence.rs)", it.name, it.version)
        })
        .collect()
}

/// Names of which the build holds several versions.
fn several(everything: &BTreeSet<Built>) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for it in everything {
        versions.entry(it.name.as_str()).or_default().insert(it.version.as_str());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

fn duplicates(everything: &BTreeSet<Built>) -> Vec<String> {
    let several = several(everything);
    let twice = ONCE.iter().filter_map(|name| Some((name, several.get(name)?)));
    twice
        .map(|(name, versions)| {
            let list: Vec<_> = versions.iter().copied().collect();
            let list = list.join(", ");
            format!("{name} is built more than once: {list} (cargo tree -i {name}@VERSION)")
        })
        .collect()
}

fn several_versions(everything: &BTreeSet<Built>) -> String {
    let several = several(everything);
    let list: Vec<_> =
        several.iter().map(|(name, versions)| format!("{name} ×{}", versions.len())).collect();
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
