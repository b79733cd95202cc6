//! What a task's text means, and what its mistakes are told as.

use super::*;
use pail_control::{BucketSettings, CallerEnvironment};
use std::path::PathBuf;

/// Somebody whose files are this crate's.
fn caller() -> Caller {
    let current_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Caller { home: PathBuf::from("/home/u"), current_dir, variables: Default::default() }
}

fn read(text: &str) -> Result<Task, Failure> {
    let document = Document::parse(Path::new("t.yaml"), text.into())?;
    Task::from_document(&document, &Overrides::default(), &caller())
}

/// A mount as it was read.
#[derive(Debug)]
struct Mounted {
    destination: String,
    bucket: Bucket,
    read_only: bool,
}

fn mounts(task: &Task) -> Vec<Mounted> {
    let mount = |mount: &FileMount| match &mount.content {
        Content::Mount { bucket, read_only } => {
            Mounted { destination: mount.destination.clone(), bucket: bucket.clone(), read_only: *read_only }
        }
        other => panic!("{other:?}"),
    };
    task.file_mounts.iter().map(mount).collect()
}

fn mount(entry: &str) -> Result<Mounted, Failure> {
    let lines: String = entry.lines().map(|line| format!("    {line}\n")).collect();
    read(&format!("file_mounts:\n  /outputs:\n{lines}")).map(|task| mounts(&task).remove(0))
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
    assert_eq!(task.envs["LR"], "1e-4");
    assert_eq!(task.run.as_deref(), Some("echo $BUCKET\n"));
    assert_eq!(task.notes, ["note: not acted on in this run: resources"]);
    let expected = [
        ("/outputs", "s3://my-bucket/runs", false, None, false),
        ("data/in", "s3://my-bucket", true, None, true),
        ("~/x", "s3://b-3", false, Some("http://127.0.0.1:9000"), false),
    ];
    let mounts = mounts(&task);
    let found: Vec<_> = mounts
        .iter()
        .map(|mount| {
            let (bucket, destination) = (&mount.bucket, mount.destination.as_str());
            (destination, bucket.uri.as_str(), bucket.create, bucket.endpoint_url.as_deref(), mount.read_only)
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn name_and_source_together_mean_what_the_table_says() {
    assert!(mount("name: my-bucket").unwrap().bucket.create);
    assert!(!mount("source: s3://my-bucket").unwrap().bucket.create);
    for (entry, told) in [
        ("mode: MOUNT", "neither `name` nor `source`"),
        ("source: ./local", "needs the `name`"),
        ("name: my-bucket\nsource: ./local", "is not there"),
        ("name: my-bucket\nsource: s3://other", "exclude each other"),
        ("name: s3://my-bucket", "without scheme"),
        ("name: My_Bucket", "cannot be a bucket's name"),
        ("source: gs://bucket\nstore: s3", "contradict each other"),
        ("name: my-bucket\nmode: MOUNT_CACHED", "MOUNT_CACHED is to come"),
        ("name: my-bucket\nstore: oci", "oci is not supported"),
        ("name: my-bucket\npersistent: no thanks", "true or false"),
    ] {
        let failure = mount(entry).unwrap_err();
        assert!(failure.message.contains(told), "{entry}: {failure}");
        assert!([2, 3].contains(&failure.kind.exit_code()), "{failure}");
    }
}

#[test]
fn a_misspelt_key_is_shown_with_the_one_that_was_meant() {
    let failure = mount("name: my-bucket\npersistant: true").unwrap_err();
    assert!(failure.message.starts_with("t.yaml:4:5: unknown key \"persistant\""), "{failure}");
    assert!(failure.message.contains("4 |     persistant: true"), "{failure}");
    assert_eq!(failure.hint.as_deref(), Some("did you mean \"persistent\"?"));
    for (written, meant) in [
        ("gs", "gcs"),
        ("GCP", "gcs"),
        ("aws", "s3"),
        ("cloudflare", "r2"),
        ("cos", "ibm"),
        ("ibm-cos", "ibm"),
        ("az", "azure"),
        ("abfs", "azure"),
    ] {
        let failure = mount(&format!("name: my-bucket\nstore: {written}")).unwrap_err();
        assert_eq!(failure.hint, Some(format!("did you mean {meant:?}?")), "{written}: {failure}");
    }
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
    let text = "nmae: a\nenvs:\n  1A: x\n  S:\nfile_mounts:\n  /x:\n    mode: MOUNT_CACHED\n    store: oci\n    \
                persistant: true\n    config: {mount: {readonly: true}, mounts: {}}\n  /y:\n    mode: MOUNT\nnum_nodes: 0\n";
    let told = read(text).unwrap_err();
    let places: Vec<&str> = told
        .message
        .lines()
        .filter(|line| line.starts_with("t.yaml"))
        .map(|line| &line[..line.find(": ").unwrap()])
        .collect();
    let expected = ["1:1", "3:3", "4:3", "7:11", "8:12", "9:5", "10:22", "10:39", "12:5", "13:12"];
    assert_eq!(places, expected.map(|place| format!("t.yaml:{place}")), "{told}");
    assert!(told.message.starts_with(
        "10 mistakes in t.yaml\n\nt.yaml:1:1: unknown key \"nmae\"\n  1 | nmae: a\n      ^\n  hint: did"
    ));
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
        ("num_nodes: two\n", "1:12"),
        ("name: \"a\n", "1:"),
        ("name: *nowhere\n", "1:7"),
        ("name: a\n\trun: b\n", "2:1"),
        ("run: a\n---\nrun: b\n", ""),
    ] {
        let failure = read(text).unwrap_err();
        assert!(failure.message.starts_with(&format!("t.yaml:{place}")), "{text:?}: {failure}");
        assert!(failure.message.contains(" | "), "{text:?}: {failure}");
    }
}

#[test]
fn destinations_that_cannot_be() {
    for (destination, told) in
        [("s3://b/x", "not a URI"), ("/outputs/", "does not end in /"), ("\"~\"", "cannot be a mount point")]
    {
        let failure = read(&format!("file_mounts:\n  {destination}:\n    name: my-bucket\n")).unwrap_err();
        assert!(failure.message.contains(told), "{failure}");
    }
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
    for mistake in ["type: DATASET", "config: {mount_cached: 5}", "config: {mount_cached: {read_onyl: true}}"]
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
    let nothing =
        "note: t.yaml: there is nothing to do: it has none of `workdir`, `file_mounts`, `setup` and `run`";
    for text in ["", "# run: x\n", "{}\n", "name: a\nrun:\n"] {
        assert_eq!(read(text).unwrap().notes, [nothing], "{text:?}");
    }
    assert!(read("setup: x\n").unwrap().notes.is_empty());
}

/// The mount of an entry, as somebody with these variables has it.
fn mount_by(variables: &[(&str, &str)], entry: &str) -> Result<(Mounted, Vec<String>), Failure> {
    let found =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let caller = Caller { variables: CallerEnvironment::from_lookup(found), ..caller() };
    let lines: String = entry.lines().map(|line| format!("    {line}\n")).collect();
    let document =
        Document::parse(Path::new("t.yaml"), format!("file_mounts:\n  /outputs:\n{lines}").into())?;
    let task = Task::from_document(&document, &Overrides::default(), &caller)?;
    Ok((mounts(&task).remove(0), task.notes.clone()))
}

#[test]
fn a_name_is_a_bucket_of_the_store_that_is_said_or_that_there_are_credentials_for() {
    let azure = ("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=hunter2;AccountName=account1");
    let (gcs, r2) = (
        ("GOOGLE_APPLICATION_CREDENTIALS", "/k"),
        [("R2_ACCESS_KEY_ID", "x"), ("R2_SECRET_ACCESS_KEY", "x")],
    );
    let aws = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), gcs];
    let ibm = ("IBMCLOUD_API_KEY", "x");
    for (variables, entry, uri, is_noted) in [
        (&[][..], "name: my-bucket", "s3://my-bucket", false),
        (&aws, "name: my-bucket", "s3://my-bucket", false),
        (&[gcs], "name: my-bucket", "gs://my-bucket", true),
        (&[gcs], "name: my-bucket\nendpoint: http://h", "s3://my-bucket", false),
        (&[gcs], "name: my-bucket\nstore: S3", "s3://my-bucket", false),
        (&r2, "name: my-bucket", "r2://my-bucket", true),
        (&[], "name: my_bucket\nstore: gcs", "gs://my_bucket", false),
        (&[], "name: my-bucket\nstore: R2", "r2://my-bucket", false),
        (&[], "name: my-bucket\nstore: Ibm\nregion: eu-de", "cos://eu-de/my-bucket", false),
        (&[ibm], "name: my-bucket", "s3://my-bucket", true),
        (&[ibm], "name: my-bucket\nstore: s3", "s3://my-bucket", false),
        (&[ibm, azure], "name: my-bucket", "az://account1/my-bucket", true),
        (&[ibm, ("IBM_COS_REGION", "jp-tok")], "name: my-bucket", "cos://jp-tok/my-bucket", true),
        (&[], "name: my-bucket\nstore: azure\naccount: account1", "az://account1/my-bucket", false),
        (&[], "name: my-bucket\naccount: account1", "az://account1/my-bucket", false),
        (&[azure], "name: my-bucket", "az://account1/my-bucket", true),
        (&[("AZURE_STORAGE_KEY", "x")], "name: my-bucket", "s3://my-bucket", true),
    ] {
        let (mounted, notes) = mount_by(variables, entry).unwrap_or_else(|err| panic!("{entry}: {err}"));
        assert_eq!((mounted.bucket.uri.as_str(), mounted.bucket.create), (uri, true), "{entry}");
        assert_eq!(!notes.is_empty(), is_noted, "{entry}: {notes:?}");
    }
    for (variables, told) in [
        (
            &[ibm][..],
            "credentials for IBM Cloud Object Storage, but its region is not known: \"my-bucket\" is taken for a bucket of S3; if it is in the former, write `store: ibm` and `region:`, and else `store: s3`",
        ),
        (&[ibm, azure], "but its region is not known: \"my-bucket\" is taken for a container of Azure"),
        (&[("AZURE_STORAGE_KEY", "x")], "`store: azure` and `account:`, and else `store: s3`"),
    ] {
        let (_, notes) = mount_by(variables, "name: my-bucket").unwrap();
        assert!(notes.iter().any(|note| note.contains(told)), "{notes:?}");
    }
    let text =
        "config: {azure: {storage_account: account2}}\nfile_mounts:\n  /o: {name: my-bucket, store: azure}\n";
    let task = read(text).unwrap();
    assert_eq!((mounts(&task)[0].bucket.uri.as_str(), &task.notes[..]), ("az://account2/my-bucket", &[][..]));
}

#[test]
fn what_a_store_needs_or_has_not_is_told_at_its_line() {
    for (entry, place, told) in [
        ("name: my-bucket\nstore: ibm", "3:11", "needs its region"),
        ("name: my-bucket\nstore: ibm\nregion: us-sooth", "5:13", "IBM has no such region"),
        ("name: my-bucket\nstore: ibm\nregion: us-geo", "5:13", "cross-region"),
        ("name: my-bucket\nstore: azure", "3:11", "needs its storage account"),
        ("name: my-bucket\nstore: azure\naccount: My-Account", "5:14", "lower-case letters and digits"),
        ("name: my-bucket\nstore: gcs\naccount: account1", "5:14", "`account` is Azure's"),
        ("source: az://account1/my-bucket\nregion: us", "4:13", "the region of a container"),
        ("source: az://account1/my-bucket\naccount: account2", "4:14", "contradict each other"),
        ("source: cos://us-south/my-bucket\nregion: eu-de", "4:13", "contradict each other"),
        ("source: gs://my-bucket\nstore: S3", "4:12", "`store: s3` and the source contradict each other"),
        ("source: gs://my-bucket\nconfig: {sse: AES256}", "4:19", "has no `sse`"),
        ("source: gs://my-bucket\nconfig: {storage_class: NEARLIN}", "4:29", "did you mean \"NEARLINE\"?"),
        ("name: my-bucket\nconfig: {storage_class: STANDART_IA}", "4:29", "did you mean \"STANDARD_IA\"?"),
        ("source: s3://my-bucket\nconfig: {sse: AES-256}", "4:19", "no such encryption"),
        ("source: r2://my-bucket\nconfig: {requester_pays: true}", "4:30", "has no requester-pays"),
        (
            "source: s3://my-bucket\nconfig: {content_type_by_name: perhaps}",
            "4:36",
            "unknown content_type_by_name",
        ),
    ] {
        let failure = mount(entry).unwrap_err();
        assert!(failure.message.starts_with(&format!("t.yaml:{place}: ")), "{entry}: {failure}");
        assert!(failure.message.contains(told) && failure.kind.exit_code() == 2, "{entry}: {failure}");
    }
    let (name, wrong) = ("name: my-bucket\nstore: azure", "AccountName=Hunter2!");
    let failure = mount_by(&[("AZURE_STORAGE_CONNECTION_STRING", wrong)], name).unwrap_err();
    assert!(!failure.to_string().contains("unter2"), "{failure}");
}

#[test]
fn settings_of_a_bucket_go_with_it() {
    let entry = "source: s3://my-bucket\nregion: eu-west-1\nconfig:\n  content_type_by_name: OFF\n  storage_class: STANDARD_IA\n  sse: aws:kms\n  sse_kms_key_id: key\n  requester_pays: true";
    let bucket = mount(entry).unwrap().bucket;
    assert_eq!(bucket.region.as_deref(), Some("eu-west-1"));
    let settings = BucketSettings {
        content_type_by_name: false,
        storage_class: Some("STANDARD_IA".into()),
        sse: Some("aws:kms".into()),
        sse_kms_key_id: Some("key".into()),
        requester_pays: true,
        anonymous: false,
    };
    assert_eq!(bucket.settings, settings);
    assert_eq!(mount("name: my-bucket").unwrap().bucket.settings, BucketSettings::default());
    assert!(mount("name: my-bucket\nconfig: {content_type_by_name: true}").is_ok());
    assert!(mount("name: my-bucket\nendpoint: http://ceph\nconfig: {storage_class: FAST}").is_ok());
}

#[test]
fn values_from_the_command_line_go_first() {
    let text = "envs: {A: 1, B: 2}\nsecrets: {S: null}\nrun: x\n";
    let document = Document::parse(Path::new("t.yaml"), text.into()).unwrap();
    let mut overrides = Overrides::default();
    let failure = Task::from_document(&document, &overrides, &caller()).unwrap_err();
    assert!(failure.hint.unwrap().contains("--secret S,"));
    overrides.envs.insert("B".into(), "3".into());
    overrides.secrets.insert("S".into(), "s".into());
    let task = Task::from_document(&document, &overrides, &caller()).unwrap();
    assert_eq!(task.environment().values().collect::<Vec<_>>(), ["1", "3", "s"]);
}

#[test]
fn a_task_that_is_logged_shows_no_secret() {
    let text = "name: $TOKEN\nsecrets: {TOKEN: hunter2secret}\nworkdir: {url: 'https://h/$TOKEN'}\nfile_mounts:\n  \
                /a/$TOKEN: {source: s3://bucket/$TOKEN}\nrun: echo hunter2secret\n";
    let task = read(text).unwrap();
    assert!(format!("{:?}", task.file_mounts).contains("hunter2secret"), "they are what is acted on");
    let logged = format!("{task:?}");
    assert!(!logged.contains("hunter2") && logged.contains("s3://bucket/${TOKEN}"), "{logged}");
}

#[test]
fn what_lies_within_what_is_decided_by_what_is_there() {
    let caller = || {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_tasks/home");
        Caller { current_dir: home.clone(), home, variables: Default::default() }
    };
    let read = |mounts: &str| {
        let text = format!("file_mounts:\n{mounts}");
        let document = Document::parse(Path::new("t.yaml"), text.into())?;
        Task::from_document(&document, &Overrides::default(), &caller())
    };
    for right in [
        "  /d: ~/datasets\n  /d/code: ~/my-code\n",
        "  /d: ~/datasets\n  /d/out: {name: my-bucket}\n",
        "  /d: s3://my-bucket\n  /d/code: ~/my-code\n",
        "  \"~\": ~/datasets\n  ~/sky_workdir: ~/my-code\n",
        "  /data: ~/datasets\n  /database: {name: my-bucket}\n",
    ] {
        read(right).unwrap_or_else(|failure| panic!("{right}: {failure}"));
    }
    let home = caller().home;
    for (wrong, told) in [
        (
            "  /o/x: ~/datasets\n  /o: {name: my-bucket}\n".to_owned(),
            "/o/x lies within /o, where a bucket is mounted",
        ),
        (
            "  /o: {name: my-bucket}\n  /o/x: s3://other-bucket\n".to_owned(),
            "/o/x lies within /o, where a bucket is mounted",
        ),
        (
            format!("  ~/a: ~/datasets\n  {}/a: ~/my-code\n", home.display()),
            "is a destination for a second time",
        ),
        ("  \"~\": ~/datasets/readme.txt\n".to_owned(), "is a directory, and the source is a file"),
    ] {
        let failure = read(&wrong).unwrap_err();
        assert!(failure.message.contains(told), "{wrong}: {failure}");
    }
}
