//! What a reviewer would otherwise have to notice: sizes, leftovers, dead links, a map that
//! does not match the tree. Line-based on purpose: rustfmt fixes the layout that it reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::metadata::Metadata;
use crate::process::{read, root};
use crate::{Error, Result, conclude};

/// A file that needs more is two things (CONTRIBUTING.md, "Sizes").
const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;
/// An inline test module longer than this moves to `tests.rs` beside the file.
const INLINE_TEST_LINES: usize = 120;

/// Folders that hold other people's files or build output.
const SKIPPED: &[&str] = &[".git", "node_modules", "target", "out", "cache", "corpus"];
const CODE: &[&str] = &["rs", "sol", "ts", "mts", "js", "mjs", "sh"];

/// A text file of the project, path relative to the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|ext| ext.to_str()).unwrap_or_default()
    }

    fn is_code(&self) -> bool {
        CODE.contains(&self.extension()) || self.path == ".ci/run"
    }

    fn is_test(&self) -> bool {
        let in_folder = ["tests/", "test/", "benches/"];
        self.path.ends_with("tests.rs")
            || self.path.ends_with(".t.sol")
            || in_folder.iter().any(|part| self.path.split_inclusive('/').any(|it| it == *part))
    }
}

pub fn run() -> Result {
    let mut sources = Vec::new();
    collect(root(), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let mut findings = Vec::new();
    for source in &sources {
        findings.extend(leftovers(source));
        findings.extend(outside_paths(source));
        match source.extension() {
            "rs" => findings.extend(sizes(source)),
            "md" => findings.extend(dead_links(source)),
            _ => {}
        }
    }
    findings.extend(crates(&Metadata::load()?)?);
    findings.extend(untested_vectors(&sources));
    findings.extend(untold_metrics(&sources));
    conclude("tidy", findings)?;
    println!("  {} files: sizes, leftovers, links, crate map, vectors, metrics", sources.len());
    Ok(())
}

fn collect(folder: &Path, sources: &mut Vec<Source>) -> Result {
    let failed = |source| Error::File { path: folder.into(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink()
            || SKIPPED.contains(&name.as_str())
            || path.join("CACHEDIR.TAG").exists()
        {
            continue;
        }
        if path.is_dir() {
            collect(&path, sources)?;
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            // What is not UTF-8 is not text.
            let path = path.strip_prefix(root()).expect("the walk began there");
            sources.push(Source { path: path.to_string_lossy().into_owned(), text });
        }
    }
    Ok(())
}

/// Words that mark unfinished work. Split here, so that this file does not contain them.
fn leftovers(source: &Source) -> Vec<String> {
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("dbg", "!("),
    ];
    if !source.is_code() && source.extension() != "md" {
        return Vec::new();
    }
    each_line(source, |line| words.iter().copied().find(|word| line.contains(word)))
        .map(|(number, word)| {
            format!("{}:{number}: `{word}`: finish it or leave it out", source.path)
        })
        .collect()
}

/// The project stands alone: nothing names a place on somebody's machine.
fn outside_paths(source: &Source) -> Vec<String> {
    let places = [
        concat!("../", "shared"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    each_line(source, |line| places.iter().copied().find(|place| line.contains(place)))
        .map(|(number, place)| {
            format!("{}:{number}: `{place}` lies outside the project", source.path)
        })
        .collect()
}

fn each_line<'a, T: 'a>(
    source: &'a Source,
    find: impl Fn(&'a str) -> Option<T> + 'a,
) -> impl Iterator<Item = (usize, T)> + 'a {
    source.text.lines().enumerate().filter_map(move |(at, line)| Some((at + 1, find(line)?)))
}

fn sizes(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let lines: Vec<_> = source.text.lines().collect();
    let inline_tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    let code = &lines[..inline_tests.unwrap_or(lines.len())];
    let mut findings = Vec::new();
    if code.len() > FILE_LINES {
        findings.push(format!(
            "{}: {} lines without tests, at most {FILE_LINES}",
            source.path,
            code.len()
        ));
    }
    let tests = lines.len() - code.len();
    if tests > INLINE_TEST_LINES {
        findings.push(format!(
            "{}: {tests} lines of inline tests, at most {INLINE_TEST_LINES}: move them to tests.rs beside it",
            source.path
        ));
    }
    for (at, name, length) in functions(code).filter(|(_, _, length)| *length > FUNCTION_LINES) {
        findings.push(format!(
            "{}:{}: `{name}` has {length} lines, at most {FUNCTION_LINES}",
            source.path,
            at + 1
        ));
    }
    findings
}

/// (line, name, lines from the signature to the closing brace) of each function.
fn functions<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str, usize)> + 'a {
    lines.iter().enumerate().filter_map(|(start, line)| {
        let name = function_name(line)?;
        let indent = &line[..line.len() - line.trim_start().len()];
        for (offset, line) in lines[start..].iter().enumerate() {
            let Some(rest) = line.strip_prefix(indent) else { continue };
            if rest.starts_with(char::is_whitespace) {
                continue;
            }
            // A declaration, a one-liner, or the brace that closes what began here.
            if rest.ends_with(';') || rest.starts_with('}') || (offset == 0 && rest.ends_with('}'))
            {
                return Some((start, name, offset + 1));
            }
        }
        None
    })
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "const", "async", "unsafe", "extern", "default", "\"C\""];
    let is_signature = before
        .split_whitespace()
        .all(|word| words.contains(&word) || (word.starts_with("pub(") && word.ends_with(')')));
    let name = after.split(['(', '<']).next()?;
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.is_empty();
    (is_signature && is_name).then_some(name)
}

/// Relative links must lead to a file of the project.
fn dead_links(source: &Source) -> Vec<String> {
    let folder = root().join(&source.path);
    let folder = folder.parent().expect("a file lies in a folder");
    let mut findings = Vec::new();
    for (number, targets) in each_line(source, |line| Some(link_targets(line))) {
        for target in targets {
            let target = target.split(['#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let inside = normalise(&folder.join(target)).starts_with(root());
            if !inside || !folder.join(target).exists() {
                findings
                    .push(format!("{}:{number}: link to `{target}` leads nowhere", source.path));
            }
        }
    }
    findings
}

fn link_targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1);
    after.filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

fn normalise(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Every crate stands on the map, obeys the workspace's lints and says what it is for.
fn crates(metadata: &Metadata) -> Result<Vec<String>> {
    let map = read(&root().join("ARCHITECTURE.md"))?;
    let mut findings = Vec::new();
    let mut folders = BTreeSet::new();
    for folder in metadata.crates.keys() {
        folders.insert(folder.as_str());
        if !map.contains(&format!("### `{folder}`")) {
            findings.push(format!("ARCHITECTURE.md: no section \"### `{folder}`\""));
        }
        let manifest = read(&root().join(folder).join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(format!("{folder}/Cargo.toml: lacks `[lints] workspace = true`"));
        }
        let entry = ["src/lib.rs", "src/main.rs"].map(|file| root().join(folder).join(file));
        if let Some(entry) = entry.iter().find(|file| file.exists())
            && !read(entry)?.starts_with("//!")
        {
            findings
                .push(format!("{folder}: its first lines (`//!`) must say what the crate is for"));
        }
    }
    let titles = map.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    for title in titles.filter(|title| !folders.contains(title)) {
        findings.push(format!("ARCHITECTURE.md: section \"### `{title}`\" names no crate"));
    }
    Ok(findings)
}

/// A vector that no test reads proves nothing.
fn untested_vectors(sources: &[Source]) -> Vec<String> {
    let vectors = sources.iter().filter_map(|source| source.path.strip_prefix("spec/vectors/"));
    vectors
        .filter(|name| !name.ends_with(".md"))
        .filter(|name| !sources.iter().any(|source| source.is_code() && source.text.contains(name)))
        .map(|name| format!("spec/vectors/{name}: no test names it"))
        .collect()
}

/// Where metrics are explained, and where they are drawn.
const METRICS_PAGE: &str = "docs/operators.md";
const DASHBOARD: &str = "docs/grafana.json";

/// What a node counts is explained to operators, and what is explained or drawn is counted.
fn untold_metrics(sources: &[Source]) -> Vec<String> {
    let code = sources.iter().filter(|source| source.extension() == "rs" && !source.is_test());
    let counted: BTreeSet<_> = code.flat_map(|source| metrics(&source.text)).collect();
    let page = |path: &str| sources.iter().find(|source| source.path == path);
    let told: BTreeSet<_> =
        page(METRICS_PAGE).into_iter().flat_map(|page| table_names(&page.text)).collect();
    let drawn = page(DASHBOARD).into_iter().flat_map(|page| drawn_metrics(&page.text));
    let untold = counted.difference(&told);
    let mut findings: Vec<_> =
        untold.map(|name| format!("{METRICS_PAGE}: no line explains `{name}`")).collect();
    let gone = told.iter().copied().chain(drawn).filter(|name| !counted.contains(name));
    findings.extend(gone.map(|name| format!("`{name}` is told of in docs, and nothing counts it")));
    findings
}

/// Names in `counter!("…"`, `gauge!("…"` and `histogram!("…"`, and in what is called like these.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    ["counter", "gauge", "histogram"].into_iter().flat_map(move |call| {
        text.split(call).skip(1).filter_map(|rest| {
            let name = rest.trim_start_matches(['!', '(']).trim_start().strip_prefix('"')?;
            name.split('"').next().filter(|name| is_metric(name))
        })
    })
}

/// Metrics in first columns: "| `annex_x` …".
fn table_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| is_metric(name))
}

/// Metrics that a dashboard asks for.
fn drawn_metrics(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_')
        .filter(|word| is_metric(word))
}

fn is_metric(word: &str) -> bool {
    word.starts_with("annex_")
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests;
