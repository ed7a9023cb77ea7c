use super::*;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

fn long_function(indent: &str, lines: usize) -> String {
    let body = format!("{indent}    work();\n").repeat(lines - 2);
    format!("{indent}pub(crate) async fn long<T>(\n{body}{indent}}}\n")
}

#[test]
fn function_lengths() {
    let text = format!(
        "{}impl X {{\n{}    fn short() {{}}\n    fn declared(\n        a: u8,\n    ) -> u8;\n}}\n",
        long_function("", 70),
        long_function("    ", 71)
    );
    let lines: Vec<_> = text.lines().collect();
    let found: Vec<_> = functions(&lines).map(|(_, name, length)| (name, length)).collect();
    assert_eq!(found, [("long", 70), ("long", 71), ("short", 1), ("declared", 3)]);
    assert_eq!(sizes(&source("core/x/src/lib.rs", &text)).len(), 1);
    assert!(sizes(&source("core/x/src/tests.rs", &text)).is_empty());
}

#[test]
fn a_call_is_no_function() {
    assert_eq!(function_name("let x = fn_name(3);"), None);
    assert_eq!(function_name("// a fn in a comment"), None);
    assert_eq!(function_name("    pub const unsafe fn a<'b>("), Some("a"));
    assert_eq!(function_name("    f: impl Fn(u8),"), None);
}

#[test]
fn file_lengths() {
    let code = "// x\n".repeat(FILE_LINES);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n".repeat(100));
    assert!(sizes(&source("a.rs", &format!("{code}{tests}"))).is_empty());
    assert_eq!(sizes(&source("a.rs", &format!("{code}// x\n{tests}"))).len(), 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    // x\n".repeat(118));
    assert_eq!(sizes(&source("a.rs", &tests)).len(), 1);
}

#[test]
fn leftovers_and_places() {
    let text = format!("fine\n    {}!()\n", concat!("to", "do"));
    assert_eq!(leftovers(&source("a.rs", &text)).len(), 1);
    assert!(leftovers(&source("a.json", &text)).is_empty());
    let text = format!("see {}/x\n", concat!("../", "shared"));
    assert_eq!(outside_paths(&source("a.json", &text)).len(), 1);
}

#[test]
fn links() {
    assert_eq!(link_targets("a [b](c.md#d) and [e](https://f) [g]"), ["c.md#d", "https://f"]);
    assert_eq!(dead_links(&source("README.md", "[x](Cargo.toml) [y](https://y) [z](#z)")).len(), 0);
    assert_eq!(dead_links(&source("spec/README.md", "[x](nowhere.md) [y](../../etc)")).len(), 2);
}

#[test]
fn vectors_need_a_test() {
    let sources = [
        source("spec/vectors/a.json", "{}"),
        source("spec/vectors/b.json", "{}"),
        source("x.rs", "\"a.json\""),
    ];
    assert_eq!(untested_vectors(&sources), ["spec/vectors/b.json: no test names it"]);
}

#[test]
fn metrics_are_told_of() {
    let code = "metrics::counter!(\"annex_a_total\").increment(1); gauge!(\n  \"annex_b\", 1)";
    let told = "| `annex_a_total` | how many |\n| `annex_gone{role}` | nothing |\n";
    let sources = [source("host/x/src/lib.rs", code), source(METRICS_PAGE, told)];
    let findings = untold_metrics(&sources);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("annex_b") && findings[1].contains("annex_gone"));
}
