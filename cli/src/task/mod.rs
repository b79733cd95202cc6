//! A task: what a YAML file asks for, checked before anything runs.
//!
//! Owns: [`Task`], read from the parts of a SkyPilot task that Pail acts on. Parts that it does not act on are named once in a note;
//! mistakes in parts of its own, or in the names of them, are an error with their places, all at once.

mod file_mount;
mod mistakes;
mod reader;
mod substitute;
mod yaml;

pub use file_mount::FileMount;
pub use substitute::is_name;

use mistakes::Mistakes;
use pail_control::Failure;
use reader::{Reader, near_miss, scalar};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yaml::{Document, Key, Node, Place, Value};

/// Keys of SkyPilot's tasks that mean nothing to a run on this machine.
const IGNORED: &[&str] = &[
    "resources",
    "service",
    "config",
    "experimental",
    "event_callback",
    "inputs",
    "outputs",
    "volumes",
    "volume_mounts",
    "pool",
    "file_mounts_mapping",
    "estimated",
    "api_server",
];
/// Keys that are acted on.
const KNOWN: &[&str] = &["name", "num_nodes", "envs", "secrets", "setup", "run", "file_mounts", "workdir"];

/// A task, with all variables replaced.
#[derive(Debug)]
pub struct Task {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Environment of setup and run: `envs` and `secrets`.
    pub environment: BTreeMap<String, String>,
    /// Runs first.
    pub setup: Option<String>,
    /// Runs then.
    pub run: Option<String>,
    /// What to mount before.
    pub mounts: Vec<FileMount>,
    /// What a person should know: parts that are not acted on.
    pub notes: Vec<String>,
}

/// Values given on the command line, which go before the file's.
#[derive(Debug, Default)]
pub struct Overrides {
    /// Of `envs`.
    pub envs: BTreeMap<String, String>,
    /// Of `secrets`.
    pub secrets: BTreeMap<String, String>,
}

/// The directory that setup and run run in, and that relative destinations lie in.
pub fn workdir(home: &Path) -> PathBuf {
    home.join("sky_workdir")
}

impl Task {
    /// Reads a task's file. Errors: its mistakes, with file, line and column; a single one with the line itself.
    pub fn read(path: &Path, overrides: &Overrides, home: &Path) -> Result<Self, Failure> {
        Self::from_document(&Document::read(path)?, overrides, home)
    }

    fn from_document(document: &Document, overrides: &Overrides, home: &Path) -> Result<Self, Failure> {
        let nothing = BTreeMap::new();
        let plain = Reader::new(document, &nothing);
        let entries = plain.map(&document.root)?;
        let mut mistakes = Mistakes::default();
        let mut environment = variables(&plain, entries, "envs", &overrides.envs, &mut mistakes);
        environment.extend(variables(&plain, entries, "secrets", &overrides.secrets, &mut mistakes));
        let reader = Reader::new(document, &environment);
        let mut task = Self {
            name: None,
            environment: BTreeMap::new(),
            setup: None,
            run: None,
            mounts: Vec::new(),
            notes: Vec::new(),
        };
        let mut ignored = Vec::new();
        for (key, node) in entries {
            let taken = task.take(&reader, key, node, home, &mut mistakes);
            if mistakes.keep(taken) == Some(Use::Ignored) {
                ignored.push(key.name.as_str());
            }
        }
        mistakes.check()?;
        if !ignored.is_empty() {
            task.notes.push(format!("note: not acted on in this run: {}", ignored.join(", ")));
        }
        if task.mounts.is_empty() && task.setup.is_none() && task.run.is_none() {
            // No mistake: SkyPilot takes such a task too.
            let nothing = "there is nothing to do: it has none of `file_mounts`, `setup` and `run`";
            task.notes.push(plain.note(Place { line: 0, column: 0 }, nothing));
        }
        task.environment = environment;
        Ok(task)
    }

    fn take(
        &mut self,
        reader: &Reader<'_>,
        key: &Key,
        node: &Node,
        home: &Path,
        mistakes: &mut Mistakes,
    ) -> Result<Use, Failure> {
        refuse_misspelt(reader, key)?;
        match key.name.as_str() {
            _ if matches!(node.value, Value::Null) => {}
            "name" => self.name = Some(reader.text(node)?),
            // The shell replaces the variables of commands itself.
            "setup" => self.setup = Some(command(reader, node)?),
            "run" => self.run = Some(command(reader, node)?),
            "num_nodes" => match scalar(node).as_deref() {
                Some("1") => {}
                _ => {
                    let what = "`num_nodes`: only one node, this machine, is supported yet";
                    return Err(reader.mistake(node.place, what));
                }
            },
            "file_mounts" => {
                for (destination, entry) in reader.map(node)? {
                    if let Some(mount) = FileMount::read(reader, destination, entry, home, mistakes) {
                        self.add_mount(reader, destination, mount, mistakes);
                    }
                }
            }
            "workdir" => {
                return Err(reader
                    .mistake(node.place, "`workdir`: syncing it is not supported yet")
                    .with_hint("leave it out, and name the code by an absolute path in `run`"));
            }
            "envs" | "secrets" => {}
            _ => return Ok(Use::Ignored),
        }
        Ok(Use::Taken)
    }
}

impl Task {
    fn add_mount(&mut self, reader: &Reader<'_>, key: &Key, mount: FileMount, mistakes: &mut Mistakes) {
        let (place, at) = (&mount.destination, mount.destination.display());
        let overlaps = |other: &&FileMount| {
            place.starts_with(&other.destination) || other.destination.starts_with(place)
        };
        match self.mounts.iter().find(overlaps) {
            Some(other) if other.destination == *place => {
                mistakes.add(reader.mistake(key.place, "this destination is there twice"));
            }
            Some(other) => {
                let what = format!("{at} and {} lie one within the other", other.destination.display());
                let hint = "mount each at a directory of its own, or the bucket or prefix that holds both";
                mistakes.add(reader.mistake(key.place, &what).with_hint(hint));
            }
            None => {}
        }
        // As in SkyPilot they stay as they are, which is seldom what was meant.
        for name in reader.left_as_they_are(&format!("{at}\n{}", mount.source)) {
            let what =
                format!("{name} is neither in `envs` nor in `secrets`, and ${name} stays as it is written");
            self.notes.push(reader.note(key.place, &what));
        }
        self.mounts.push(mount);
    }
}

/// What became of a part of a task.
#[derive(Debug, PartialEq, Eq)]
enum Use {
    Taken,
    Ignored,
}

/// Refuses a key that can only be a slip for one that is acted on: a task whose `file_mount:` is passed over loses its outputs. Any
/// other unknown key is none of our business, since SkyPilot's own change with its versions.
fn refuse_misspelt(reader: &Reader<'_>, key: &Key) -> Result<(), Failure> {
    let name = key.name.as_str();
    if KNOWN.contains(&name) || IGNORED.contains(&name) || name.starts_with('_') {
        return Ok(());
    }
    match near_miss(name, KNOWN) {
        Some(near) => Err(reader
            .mistake(key.place, &format!("unknown key {name:?}"))
            .with_hint(format!("did you mean {near:?}?"))),
        None => Ok(()),
    }
}

fn command(reader: &Reader<'_>, node: &Node) -> Result<String, Failure> {
    match &node.value {
        Value::Text(command) => Ok(command.clone()),
        other => Err(reader.mistake(node.place, &format!("expected a command, found {}", other.kind()))),
    }
}

/// The variables of `envs` or `secrets`, after what the command line says.
fn variables(
    reader: &Reader<'_>,
    entries: &[(Key, Node)],
    part: &str,
    overrides: &BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let node = entries.iter().find(|(key, _)| key.name == part).map(|(_, node)| node);
    let written = node.and_then(|node| mistakes.keep(reader.map(node))).unwrap_or_default();
    for (key, node) in written {
        if let Some(value) = mistakes.keep(variable(reader, (key, node), part, overrides)) {
            values.insert(key.name.clone(), value);
        }
    }
    values.extend(overrides.clone());
    values
}

/// A variable's value. Errors: a name that no shell takes; a value that is neither in the file nor on the command line.
fn variable(
    reader: &Reader<'_>,
    (key, node): (&Key, &Node),
    part: &str,
    overrides: &BTreeMap<String, String>,
) -> Result<String, Failure> {
    if !is_name(&key.name) {
        return Err(reader.mistake(key.place, &format!("{:?} cannot be a variable's name", key.name)));
    }
    match (overrides.get(&key.name).cloned().or_else(|| scalar(node)), &node.value) {
        (Some(told), _) => Ok(told),
        (None, Value::Null) => {
            let flag = if part == "envs" { "--env" } else { "--secret" };
            Err(reader
                .mistake(key.place, &format!("{} has no value", key.name))
                .with_hint(format!("give it by {flag} {}=VALUE", key.name)))
        }
        (None, other) => {
            Err(reader.mistake(node.place, &format!("expected a value, found {}", other.kind())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Task, Failure> {
        let document = Document::parse(Path::new("t.yaml"), text.to_owned())?;
        Task::from_document(&document, &Overrides::default(), Path::new("/home/u"))
    }

    fn mount(entry: &str) -> Result<FileMount, Failure> {
        let lines: String = entry.lines().map(|line| format!("    {line}\n")).collect();
        read(&format!("file_mounts:\n  /outputs:\n{lines}")).map(|task| task.mounts[0].clone())
    }

    #[test]
    fn a_task_as_people_have_it() {
        let task = read(
            "name: train\nresources:\n  accelerators: A100\nnum_nodes: 1\nenvs:\n  BUCKET: my-bucket\n  LR: 1e-4\n\
             file_mounts:\n  /outputs:\n    source: s3://$BUCKET/runs\n    mode: mount\n  data/in:\n    name: ${BUCKET}\n    \
             config: {mount: {read_only: true}}\n  ~/x:\n    source: s3://b-3/\n    endpoint: http://127.0.0.1:9000\n\
             setup: pip install x\nrun: |\n  echo $BUCKET\n",
        )
        .unwrap();
        assert_eq!(task.name.as_deref(), Some("train"));
        assert_eq!(task.environment["LR"], "1e-4");
        assert_eq!(task.run.as_deref(), Some("echo $BUCKET\n"));
        assert_eq!(task.notes, ["note: not acted on in this run: resources"]);
        let expected = [
            ("/outputs", "s3://my-bucket/runs", false, None, false),
            ("/home/u/sky_workdir/data/in", "s3://my-bucket", true, None, true),
            ("/home/u/x", "s3://b-3", false, Some("http://127.0.0.1:9000"), false),
        ];
        let found: Vec<_> = task
            .mounts
            .iter()
            .map(|m| {
                let destination = m.destination.to_str().unwrap();
                (destination, m.source.as_str(), m.create_bucket, m.endpoint_url.as_deref(), m.read_only)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn name_and_source_together_mean_what_the_table_says() {
        assert!(mount("name: my-bucket").unwrap().create_bucket);
        assert!(!mount("source: s3://my-bucket").unwrap().create_bucket);
        for (entry, told) in [
            ("mode: MOUNT", "needs a `name` or a `source`"),
            ("source: ./local", "needs the `name`"),
            ("name: my-bucket\nsource: ./local", "not supported yet"),
            ("name: my-bucket\nsource: s3://other", "exclude each other"),
            ("name: s3://my-bucket", "without scheme"),
            ("name: My_Bucket", "is not a bucket"),
            ("source: gs://bucket", "not supported yet"),
            ("name: my-bucket\nmode: MOUNT_CACHED", "MOUNT_CACHED is not supported yet"),
            ("name: my-bucket\nstore: gcs", "gcs is not supported yet"),
            ("name: my-bucket\npersistent: no thanks", "true or false"),
        ] {
            let failure = mount(entry).unwrap_err();
            assert!(failure.message.contains(told), "{entry}: {failure}");
            assert_eq!(failure.kind.exit_code(), 2);
        }
    }

    #[test]
    fn a_misspelt_key_is_shown_with_the_one_that_was_meant() {
        let failure = mount("name: my-bucket\npersistant: true").unwrap_err();
        assert!(failure.message.starts_with("t.yaml:4:5: unknown key \"persistant\""), "{failure}");
        assert!(failure.message.contains("4 |     persistant: true"), "{failure}");
        assert_eq!(failure.hint.as_deref(), Some("did you mean \"persistent\"?"));
        let failure = mount("name: my-bucket\nmode: MOUNTED").unwrap_err();
        assert!(failure.message.contains("t.yaml:4:11"), "{failure}");
        let failure = mount("name: my-bucket\nconfig:\n  mount:\n    readonly: true").unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("did you mean \"read_only\"?"));
    }

    #[test]
    fn a_misspelt_part_is_a_mistake_and_another_tool_s_is_none() {
        for (misspelt, meant) in [
            ("file_mount", "file_mounts"),
            ("file-mounts", "file_mounts"),
            ("FileMounts", "file_mounts"),
            ("flie_mounts", "file_mounts"),
            ("env", "envs"),
            ("secret", "secrets"),
            ("Run", "run"),
            ("work_dir", "workdir"),
            ("num_node", "num_nodes"),
        ] {
            for value in [" {}", ""] {
                let failure = read(&format!("name: t\n{misspelt}:{value}\n")).unwrap_err();
                let told = format!("t.yaml:2:1: unknown key {misspelt:?}\n  2 | {misspelt}:{value}\n");
                assert!(failure.message.starts_with(&told), "{failure}");
                assert_eq!(failure.hint, Some(format!("did you mean {meant:?}?")));
                assert_eq!(failure.kind.exit_code(), 2);
            }
        }
        for other in IGNORED.iter().chain(&["priority", "x-notes", "_metadata", "hooks", "node", "ports"]) {
            let task = read(&format!("{other}: {{a: 1}}\nrun: x\n")).unwrap();
            assert_eq!(task.notes, [format!("note: not acted on in this run: {other}")]);
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "nmae: a\nworkdir: .\nenvs:\n  1A: x\n  S:\nfile_mounts:\n  /x:\n    mode: COPY\n    store: gcs\n    \
             persistant: true\n    config: {mount: {readonly: true}, mounts: {}}\n  /y:\n    mode: MOUNT\nnum_nodes: 2\n";
        let told = read(text).unwrap_err();
        let lines: Vec<&str> = told.message.lines().collect();
        assert_eq!(
            lines,
            [
                "11 mistakes:",
                "t.yaml:4:3: \"1A\" cannot be a variable's name",
                "t.yaml:5:3: S has no value (give it by --env S=VALUE)",
                "t.yaml:1:1: unknown key \"nmae\" (did you mean \"name\"?)",
                "t.yaml:2:10: `workdir`: syncing it is not supported yet (leave it out, and name the code by an absolute path in `run`)",
                "t.yaml:8:11: mode COPY is not supported yet (use mode: MOUNT)",
                "t.yaml:9:12: store gcs is not supported yet (s3 is; where that store has an S3 interface, write `store: s3` and its URL as `endpoint:`)",
                "t.yaml:10:5: unknown key \"persistant\" (did you mean \"persistent\"?)",
                "t.yaml:11:22: unknown key \"readonly\" (did you mean \"read_only\"?)",
                "t.yaml:11:39: unknown key \"mounts\" (did you mean \"mount\"?)",
                "t.yaml:13:5: a mount needs a `name` or a `source`",
                "t.yaml:14:12: `num_nodes`: only one node, this machine, is supported yet",
            ]
        );
        assert_eq!((told.kind.exit_code(), told.hint), (2, None));
    }

    #[test]
    fn every_mistake_shows_its_line() {
        for (text, place) in [
            ("just text\n", "1:1"),
            ("- a\n- b\n", "1:1"),
            ("name: [a]\n", "1:7"),
            ("run:\n  - a\n", "2:3"),
            ("envs: {1A: x}\n", "1:8"),
            ("envs:\n  A: [1]\n", "2:6"),
            ("secrets: {S: }\n", "1:11"),
            ("file_mounts: x\n", "1:14"),
            ("file_mounts:\n  /x: [a]\n", "2:7"),
            ("file_mounts:\n  /x: {name: my-bucket, endpoint: localhost:9000}\n", "2:35"),
            ("file_mounts:\n  /x: {name: my-bucket}\n  /x/: {name: my-bucket}\n", "3:3"),
            ("name: a\nname: b\n", "2:1"),
            ("name: \"a\n", "1:"),
            ("name: *nowhere\n", "1:7"),
            ("name: a\n\trun: b\n", "1:7"),
            ("run: a\n---\nrun: b\n", ""),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.message.starts_with(&format!("t.yaml:{place}")), "{text:?}: {failure}");
            assert!(failure.message.contains(" | "), "{text:?}: {failure}");
        }
    }

    #[test]
    fn destinations_that_cannot_be() {
        for (destination, told) in [
            ("s3://b/x", "not a URI"),
            ("/outputs/", "does not end in /"),
            ("\"~\"", "cannot be a mount point"),
        ] {
            let failure =
                read(&format!("file_mounts:\n  {destination}:\n    name: my-bucket\n")).unwrap_err();
            assert!(failure.message.contains(told), "{failure}");
        }
        assert!(read("file_mounts:\n  /x: ./local\n").unwrap_err().message.contains("t.yaml:2:7"));
        assert!(read("workdir: .\n").unwrap_err().message.contains("not supported yet"));
        assert!(read("num_nodes: 2\n").unwrap_err().message.contains("one node"));
    }

    #[test]
    fn what_is_not_to_be_written_is_read_only_however_it_is_said() {
        for told in [
            "config: {mount: {read_only: true}}",
            "config: {mount_cached: {read_only: true, buffer_size: 16}}",
            "type: DATASET_RO",
            "type: MODEL_CHECKPOINT_RO\nconfig: {mount: {read_only: false}}",
        ] {
            assert!(mount(&format!("source: s3://bucket\n{told}")).unwrap().read_only, "{told}");
        }
        assert!(!mount("source: s3://bucket\ntype: DATASET_RW").unwrap().read_only);
        for mistake in
            ["type: DATASET", "config: {mount_cached: 5}", "config: {mount_cached: {read_onyl: true}}"]
        {
            mount(&format!("source: s3://bucket\n{mistake}")).unwrap_err();
        }
    }

    #[test]
    fn a_variable_that_is_nowhere_is_told() {
        let text = "envs: {A: a}\nfile_mounts:\n  /out/$RUN:\n    source: s3://bucket/$A/${STEP}\nrun: x\n";
        let told = |name: &str| {
            format!(
                "note: t.yaml:3:3: {name} is neither in `envs` nor in `secrets`, and ${name} stays as it is written"
            )
        };
        assert_eq!(read(text).unwrap().notes, [told("RUN"), told("STEP")]);
        for source in ["source: s3://${BUCKET}/x", "name: $BUCKET"] {
            let failure = mount(source).unwrap_err();
            assert!(failure.message.starts_with("t.yaml:3:"), "{failure}");
            assert!(failure.hint.unwrap().starts_with("BUCKET is neither in `envs` nor in `secrets`"));
        }
    }

    #[test]
    fn mount_points_within_one_another_are_a_mistake_before_anything_is_mounted() {
        for (first, second) in [("/out", "/out/logs"), ("/out/a/b", "/out"), ("~/sky_workdir/x", "x/y")] {
            let text = format!("file_mounts:\n  {first}: {{name: one}}\n  {second}: {{name: two}}\n");
            let failure = read(&text).unwrap_err();
            assert!(failure.message.starts_with("t.yaml:3:3: "), "{failure}");
            assert!(failure.message.contains("lie one within the other"), "{failure}");
            assert!(failure.hint.is_some());
        }
        read("file_mounts:\n  /out: {name: one}\n  /outputs: {name: two}\n").unwrap();
    }

    #[test]
    fn a_task_with_nothing_to_do_says_so() {
        let nothing = "note: t.yaml: there is nothing to do: it has none of `file_mounts`, `setup` and `run`";
        for text in ["", "# run: x\n", "{}\n", "name: a\nrun:\n"] {
            assert_eq!(read(text).unwrap().notes, [nothing], "{text:?}");
        }
        assert!(read("setup: x\n").unwrap().notes.is_empty());
    }

    #[test]
    fn other_stores_are_told_what_is_supported() {
        for (source, hint) in [
            ("gs://bucket/x", "gs:// is not supported, only s3:// is"),
            ("r2://bucket", "r2:// is not supported"),
            ("https://host/bucket", "the server as the endpoint"),
        ] {
            let failure = mount(&format!("source: {source}")).unwrap_err();
            assert!(failure.message.contains("not supported yet"), "{failure}");
            assert!(failure.hint.as_ref().unwrap().contains(hint), "{failure}");
        }
        let failure = mount("name: my-bucket\nstore: r2").unwrap_err();
        assert!(failure.hint.unwrap().contains("`endpoint:`"));
    }

    #[test]
    fn values_from_the_command_line_go_first() {
        let text = "envs: {A: 1, B: 2}\nsecrets: {S: null}\nrun: x\n";
        let document = Document::parse(Path::new("t.yaml"), text.to_owned()).unwrap();
        let mut overrides = Overrides::default();
        let home = Path::new("/h");
        let failure = Task::from_document(&document, &overrides, home).unwrap_err();
        assert!(failure.hint.unwrap().contains("--secret S="));
        overrides.envs.insert("B".into(), "3".into());
        overrides.secrets.insert("S".into(), "s".into());
        let task = Task::from_document(&document, &overrides, home).unwrap();
        assert_eq!(task.environment.values().collect::<Vec<_>>(), ["1", "3", "s"]);
    }
}
