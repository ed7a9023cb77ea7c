//! Licence expressions (SPDX) against an allow-list. Only what lets anyone use Annex under
//! MIT or Apache-2.0 without further duty than keeping a notice.

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// True if the expression can be satisfied by allowed licences alone.
pub fn allowed(expression: &str) -> bool {
    // crates.io still accepts the old notation "MIT/Apache-2.0".
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    alternatives(&mut rest) && rest.is_empty()
}

fn alternatives(rest: &mut &[&str]) -> bool {
    let mut any = conjunction(rest);
    while eat(rest, "OR") {
        any |= conjunction(rest);
    }
    any
}

fn conjunction(rest: &mut &[&str]) -> bool {
    let mut all = single(rest);
    while eat(rest, "AND") {
        all &= single(rest);
    }
    all
}

fn single(rest: &mut &[&str]) -> bool {
    if eat(rest, "(") {
        let inner = alternatives(rest);
        return eat(rest, ")") && inner;
    }
    let Some((name, tail)) = rest.split_first() else { return false };
    *rest = tail;
    if eat(rest, "WITH") {
        let Some((exception, tail)) = rest.split_first() else { return false };
        *rest = tail;
        let full = format!("{name} WITH {exception}");
        return ALLOWED.contains(&full.as_str());
    }
    ALLOWED.contains(name)
}

fn eat(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT OR Apache-2.0) AND SSPL-1.0",
            "GPL-2.0 WITH Classpath-exception-2.0",
            "(MIT",
            "MIT Apache-2.0",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
