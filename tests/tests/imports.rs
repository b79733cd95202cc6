//! The import rule of ARCHITECTURE.md: which crate knows which, and which module alone names what.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Which of our crates each of our crates is built from, its tests aside.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let ours = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .filter(|name| names.contains(name.as_str()))
            .collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), ours(package))).collect()
}

#[test]
fn crates_know_only_those_below_them() {
    let allowed = BTreeMap::from([
        ("pail-store", vec![]),
        ("pail-cache", vec![]),
        ("pail-devserver", vec![]),
        ("pail-mountd", vec!["pail-cache", "pail-store"]),
        ("pail", vec!["pail-devserver", "pail-mountd", "pail-store"]),
    ]);
    let found = dependencies();
    for (name, allowed) in allowed {
        let known: Vec<&str> = found[name].iter().map(String::as_str).collect();
        assert_eq!(known, allowed, "{name}");
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The sources of the product, as paths below the root, whose code (comments and strings aside) holds `needle`.
fn naming(needle: &str) -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["store/src", "cache/src", "mountd/src", "cli/src"] {
        sources(&root().join(folder), &mut files);
    }
    let holds = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| line.contains(needle))
    };
    let mut named: Vec<_> = files
        .iter()
        .filter(|path| holds(path))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    named.sort();
    named
}

#[test]
fn one_module_names_fuser_and_one_opens_stores() {
    assert_eq!(
        naming("fuser::"),
        [
            "mountd/src/fuse/adapter.rs",
            "mountd/src/fuse/arguments.rs",
            "mountd/src/fuse/mod.rs",
            "mountd/src/fuse/replies.rs",
            "mountd/src/fuse/requests.rs"
        ]
    );
    assert_eq!(naming("S3Store::open("), ["mountd/src/daemon/opening.rs"]);
}

#[test]
fn clap_stays_with_the_commands() {
    for path in naming("clap::") {
        assert!(path.starts_with("cli/src/") || path == "mountd/src/bin/pail-mountd.rs", "{path} names clap");
    }
}

#[test]
fn every_source_says_what_it_owns() {
    let mut files = Vec::new();
    for folder in ["store", "cache", "mountd", "cli", "devserver", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
    }
}

/// The promises named in a source, each directly above a test: other comments and attributes may lie between. Panics where one is named
/// elsewhere, where it says nothing of what is tested.
fn promises_named(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_beside = |line: &&&str| line.starts_with("//") || line.starts_with("#[");
    let mut named = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(names) = line.strip_prefix("// SEMANTICS: ") else { continue };
        let before = lines[..index].iter().rev().take_while(is_beside).count();
        let after = lines[index..].iter().take_while(is_beside).count();
        let about = &lines[index - before..index + after];
        let is_attribute = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let within_macro = lines[..index - before].last() == Some(&"mounted_test! {");
        let is_function = lines
            .get(index + after)
            .is_some_and(|line| line.starts_with("fn ") || line.starts_with("async fn "));
        assert!(is_function && (within_macro || about.iter().any(is_attribute)), "not above a test: {line}");
        named.extend(names.split(", ").map(str::to_owned));
    }
    named
}

#[test]
fn a_promise_is_named_above_a_test_and_nowhere_else() {
    let tests = [
        "// SEMANTICS: a.1, a.2\n#[test]\nfn f() {}",
        "// SEMANTICS: a.1, a.2\n// And why.\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn f() {}",
        "#[test]\n// SEMANTICS: a.1, a.2\nfn f() {}",
        "mounted_test! {\n    // SEMANTICS: a.1, a.2\n    async fn f() {}",
    ];
    for test in tests {
        assert_eq!(promises_named(test), ["a.1", "a.2"], "{test}");
    }
    let others = [
        "// SEMANTICS: a.1\nfn helper() {}",
        "// SEMANTICS: a.1\n\n#[test]\nfn f() {}",
        "#[test]\nfn f() {\n    // SEMANTICS: a.1\n    let x = 1;\n}",
        "// SEMANTICS: a.1\n#[test]",
    ];
    for other in others {
        let refused = std::panic::catch_unwind(|| promises_named(other));
        assert!(refused.is_err(), "{other}");
    }
}

#[test]
fn every_promise_has_a_test_that_names_it() {
    let promises = std::fs::read_to_string(root().join("SEMANTICS.md")).unwrap();
    let mut tests = Vec::new();
    sources(&root().join("tests/tests"), &mut tests);
    sources(&root().join("cli/tests"), &mut tests);
    let named: BTreeSet<String> =
        tests.iter().flat_map(|path| promises_named(&std::fs::read_to_string(path).unwrap())).collect();
    let mut section = String::new();
    let mut missing = Vec::new();
    for line in promises.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        }
        if let Some((number, _)) = line.split_once(". ").filter(|(n, _)| n.parse::<u32>().is_ok()) {
            let promise = format!("{section}.{number}");
            if !named.contains(&promise) {
                missing.push(promise);
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "promises that no test names");
}
