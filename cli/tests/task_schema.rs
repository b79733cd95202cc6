//! The JSON Schema of task files, against the reader of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn tasks(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

fn pail(arguments: &[&str]) -> std::process::Output {
    let home = tests_dir().join("broken_tasks/home");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pail"));
    command.args(arguments).current_dir(&home).env_clear().env("HOME", &home).output().unwrap()
}

/// Whether the schema takes a file.
struct Validator(boon::Schemas, boon::SchemaIndex);

impl Validator {
    fn new() -> Self {
        let schema: Value = serde_json::from_slice(&pail(&["check", "--schema"]).stdout).unwrap();
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("task.schema.json", schema).unwrap();
        let index = compiler.compile("task.schema.json", &mut schemas).unwrap();
        Self(schemas, index)
    }

    fn takes(&self, path: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(path).unwrap();
        let value: Value = serde_saphyr::from_str(text.trim_start_matches('\u{feff}')).unwrap();
        self.0.validate(&value, self.1).map_err(|error| error.to_string())
    }
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_this_reader() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../task.schema.json");
    let of_reader = pail(&["check", "--schema"]);
    let kept = std::fs::read(&file).unwrap_or_default();
    assert!(kept == of_reader.stdout, "run: pail check --schema > task.schema.json");
}

#[test]
fn right_tasks_are_taken_by_the_schema_and_the_reader() {
    let validator = Validator::new();
    let good = tasks(&tests_dir().join("good_tasks"));
    let examples = tasks(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"));
    assert!(good.len() >= 5 && !examples.is_empty());
    for path in &good {
        let output = pail(&["check", path.to_str().unwrap()]);
        assert!(output.status.success(), "{path:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for path in good.iter().chain(&examples) {
        assert_eq!(validator.takes(path), Ok(()), "{path:?}");
    }
}

#[test]
fn wrong_keys_and_values_are_refused_by_the_schema_too() {
    let validator = Validator::new();
    for name in [
        "unknown_key_of_mount",
        "unknown_key_nothing_near",
        "unknown_key_of_workdir",
        "unknown_config",
        "wrong_cached_settings",
        "wrong_mode",
        "wrong_store",
        "wrong_type",
        "run_is_a_list",
        "run_is_a_number",
        "name_is_a_list",
        "num_nodes",
        "num_nodes_word",
        "workdir_is_a_list",
        "file_mounts_is_a_list",
        "envs_is_a_list",
        "env_names",
        "env_values",
        "no_sources",
        "list_at_the_top",
        "text_at_the_top",
    ] {
        let path = tests_dir().join("broken_tasks").join(name).with_extension("yaml");
        assert!(validator.takes(&path).is_err(), "{name}");
    }
}
