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
        ("pail-transfer", vec!["pail-store"]),
        ("pail-control", vec!["pail-store"]),
        ("pail-mountd", vec!["pail-cache", "pail-control", "pail-store"]),
        ("pail", vec!["pail-control", "pail-devserver", "pail-store", "pail-transfer"]),
    ]);
    let found = dependencies();
    for (name, allowed) in allowed {
        let known: Vec<&str> = found[name].iter().map(String::as_str).collect();
        assert_eq!(known, allowed, "{name}");
    }
}

#[test]
fn the_command_is_built_without_fuse_and_the_cache() {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "pail",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("pail-control"), "{tree}");
    for unwanted in ["fuser", "pail-cache", "pail-mountd"] {
        assert!(!names.contains(unwanted), "{unwanted} is in the tree of the command");
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
    for folder in ["store/src", "cache/src", "control/src", "transfer/src", "mountd/src", "cli/src"] {
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
    assert_eq!(naming("pail_store::open("), ["control/src/opening.rs"]);
}

#[test]
fn clap_stays_with_the_commands() {
    for path in naming("clap::") {
        assert!(path.starts_with("cli/src/") || path == "mountd/src/bin/pail-mountd.rs", "{path} names clap");
    }
}

/// Folders of a crate, and which of the others each may name.
type Folders = [(&'static str, &'static [&'static str])];

/// The folders of the store, which all of its modules but the root are in.
const STORE_FOLDERS: &Folders = &[
    ("contract", &[]),
    ("http", &["contract"]),
    ("wrappers", &["contract", "http", "memory"]),
    ("memory", &["contract"]),
    ("s3", &["contract", "http"]),
    ("gcs", &["contract", "http"]),
    ("adapter", &["contract", "http"]),
    ("azure", &["contract", "http", "adapter"]),
    ("open", &["contract", "http", "s3", "gcs", "azure", "wrappers"]),
    ("conformance", &["contract", "wrappers", "memory"]),
];

/// The folders of the command, and which of the others each may name. What is in none of them is below them all; a folder may name itself,
/// what is within it, and what is below.
const COMMAND_FOLDERS: &Folders = &[
    ("commands", &["launch", "node", "cluster", "sync", "git", "task"]),
    ("launch", &["node", "cluster", "sync", "git", "task"]),
    ("node", &["sync", "git", "task"]),
    ("cluster", &[]),
    ("sync", &["cluster"]),
    ("sync/ignore", &[]),
    ("git", &[]),
    ("task", &[]),
];

/// The folder that a module is in, by the names that lead to it; "" where it is in none.
fn folder_of(folders: &Folders, module: &[String]) -> &'static str {
    let path = module.join("/");
    let holds =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let within = folders.iter().map(|(folder, _)| *folder).filter(|folder| holds(folder));
    within.max_by_key(|folder| folder.len()).unwrap_or_default()
}

/// Reads a path or a tree of a `use` from the beginning of `text`, such as `a::{b, c::d}`: the paths that it names, and what follows it.
fn named_paths(text: &str) -> (Vec<Vec<String>>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut all = Vec::new();
        while !rest.trim_start().starts_with('}') {
            let (paths, after) = named_paths(rest);
            all.extend(paths);
            // Past the comma, and what a rename says.
            let Some(end) = after.find([',', '}']) else { return (all, "") };
            rest = after[end..].strip_prefix(',').unwrap_or(&after[end..]);
        }
        return (all, &rest.trim_start()[1..]);
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (mut paths, rest) = match rest.strip_prefix("::") {
        Some(rest) => named_paths(rest),
        None => (vec![Vec::new()], rest),
    };
    if !name.is_empty() {
        paths.iter_mut().for_each(|path| path.insert(0, name.to_owned()));
    }
    (paths, rest)
}

/// The modules of its crate that the source of `module` names, whichever way: `crate::` and `super::` are taken as the compiler takes them.
fn modules_named(module: &[String], text: &str) -> Vec<Vec<String>> {
    let mut named = Vec::new();
    let mut module = module.to_vec();
    let text: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    for (index, text) in text.join("\n").split("#[cfg(test)]\nmod ").enumerate() {
        if index == 1 {
            module.push("tests".to_owned());
        }
        let is_whole_word =
            |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
        for (at, _) in text.match_indices("crate::").filter(|(at, _)| is_whole_word(*at)) {
            named.extend(named_paths(&text[at + "crate::".len()..]).0);
        }
        for (at, _) in text.match_indices("super::").filter(|(at, _)| is_whole_word(*at)) {
            for path in named_paths(&text[at..]).0 {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let base = &module[..module.len().saturating_sub(ups)];
                named.push(base.iter().chain(&path[ups..]).cloned().collect());
            }
        }
    }
    named
}

/// The folders that a source names and may not, as `FROM names TO`.
fn wrong_ways(folders: &Folders, module: &[String], text: &str) -> Vec<String> {
    let from = folder_of(folders, module);
    let allowed =
        folders.iter().find(|(folder, _)| *folder == from).map_or(&[] as &[_], |(_, allowed)| *allowed);
    let is_within = |to: &str, folder: &str| to == folder || to.starts_with(&format!("{folder}/"));
    let is_right = |to: &str| {
        to.is_empty()
            || (!from.is_empty() && is_within(to, from))
            || allowed.iter().any(|folder| is_within(to, folder))
    };
    let named = modules_named(module, text);
    let to: BTreeSet<_> =
        named.iter().map(|path| folder_of(folders, path)).filter(|to| !is_right(to)).collect();
    to.iter().map(|to| format!("{from:?} names {to:?}")).collect()
}

fn module(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs").trim_end_matches("mod").trim_end_matches('/');
    path.split('/').map(str::to_owned).collect()
}

/// The wrong ways in a crate's sources, but for its root, which puts all of them together.
fn wrong_ways_in(src: &str, folders: &Folders) -> Vec<String> {
    let mut files = Vec::new();
    sources(&root().join(src), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(root().join(src)).unwrap().to_str().unwrap().to_owned();
        if path != "lib.rs" && path != "main.rs" {
            let text = std::fs::read_to_string(&file).unwrap();
            let found = wrong_ways(folders, &module(&path), &text);
            wrong.extend(found.iter().map(|what| format!("{src}/{path}: {what}")));
        }
    }
    wrong
}

#[test]
fn folders_of_the_command_know_only_those_below_them() {
    assert_eq!(wrong_ways_in("cli/src", COMMAND_FOLDERS), Vec::<String>::new());
}

#[test]
fn folders_of_the_store_know_only_those_below_them() {
    assert_eq!(wrong_ways_in("store/src", STORE_FOLDERS), Vec::<String>::new());
}

#[test]
fn the_wrong_way_is_seen_however_it_is_written() {
    for (path, text) in [
        ("terminal.rs", "use crate::commands::mount;"),
        ("task/mod.rs", "use crate::{terminal, git as repository};"),
        ("task/yaml.rs", "fn f() { super::super::git::clone() }"),
        (
            "git/fetch.rs",
            "use crate::{\n    terminal::{self, line},\n    sync::ignore::{Rules, matcher},\n};",
        ),
        ("sync/ignore/mod.rs", "use super::rsync;"),
        ("sync/ignore/rules.rs", "use crate::cluster::Node;"),
        ("node/mod.rs", "#[cfg(test)]\nmod tests {\n    use super::super::commands::mount;\n}"),
    ] {
        assert_eq!(wrong_ways(COMMAND_FOLDERS, &module(path), text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("commands/launch.rs", "use super::mount;\nuse crate::{node, sync::ignore, task::Task, terminal};"),
        ("sync/rsync.rs", "use super::ignore::Rules;\nuse crate::cluster::Node;\nuse crate::progress;"),
        ("sync/ignore/mod.rs", "use rules::Rules;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
        (
            "task/mod.rs",
            "// As crate::git has it.\nuse pail_control::opening;\nuse super::terminal;\nuse yaml::commands;",
        ),
        ("commands.rs", "use crate::git;"),
    ] {
        assert_eq!(wrong_ways(COMMAND_FOLDERS, &module(path), text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn every_source_says_what_it_owns() {
    let mut files = Vec::new();
    for folder in ["store", "cache", "control", "transfer", "mountd", "cli", "devserver", "tests"] {
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
    sources(&root().join("transfer/tests"), &mut tests);
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
