//! `pail check`.

use super::task_arguments::TaskArguments;
use crate::cluster::Cluster;
use crate::task::{Bucket, Caller, Content, FileMount, Task, Upload, WORKDIR, Workdir, schema};
use crate::terminal;
use pail_control::Failure;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check a task's file, and say what it would do; nothing is run, and nothing is connected to
///
/// All mistakes are shown at once, each with its line and what to do about it. The exit code is 2 where there are some, 3 where files are
/// missing that the task names.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The task's file
    #[arg(required_unless_present = "schema")]
    task: Option<PathBuf>,

    #[command(flatten)]
    of_task: TaskArguments,

    /// Print the plan as JSON, without secrets
    #[arg(long)]
    json: bool,

    /// Print the JSON Schema of task files, for editors
    #[arg(long, conflicts_with_all = ["task", "json"])]
    schema: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Some(path) = &arguments.task else {
        terminal::json(&schema())?;
        return Ok(ExitCode::SUCCESS);
    };
    let caller = Caller::of_this_process()?;
    let task = Task::read(path, &arguments.of_task.overrides()?, &caller)?;
    task.notes.iter().for_each(|note| terminal::note(note));
    match arguments.json {
        true => terminal::json(&plan(&task))?,
        false => {
            terminal::line(&format!("{} is right", path.display()))?;
            print_rows(&task, &caller)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a launch would do: the nodes, and the task's parts.
pub fn print_plan(task: &Task, caller: &Caller, cluster: Option<&Cluster>) -> Result<ExitCode, Failure> {
    match cluster {
        Some(cluster) => {
            let hosts: Vec<&str> = cluster.nodes.iter().map(|node| node.host.as_str()).collect();
            terminal::line(&format!("on {}:", hosts.join(", ")))?;
        }
        None => terminal::line("on this machine:")?,
    }
    print_rows(task, caller)?;
    Ok(ExitCode::SUCCESS)
}

fn print_rows(task: &Task, caller: &Caller) -> Result<(), Failure> {
    for line in terminal::table(&rows(task, caller)) {
        terminal::line(&format!("  {}", task.redacted(&terminal::escaped(&line))))?;
    }
    Ok(())
}

/// What the task would do, a line each.
fn rows(task: &Task, caller: &Caller) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |what: &str, told: String| rows.push(vec![what.to_owned(), told]);
    if let Some(name) = &task.name {
        row("name", name.clone());
    }
    if let Some(count) = task.num_nodes {
        row("nodes", count.to_string());
    }
    for (what, names) in [("envs", task.envs.keys()), ("secrets", task.secrets.keys())] {
        if names.len() > 0 {
            row(what, names.cloned().collect::<Vec<_>>().join(", "));
        }
    }
    match &task.workdir {
        Some(Workdir::Local(dir)) => row("workdir", format!("{} to {WORKDIR}", shown(dir, caller))),
        Some(Workdir::Git { url, git_ref }) => {
            let git_ref = git_ref.as_deref().unwrap_or("the default branch");
            row("workdir", format!("{url} at {git_ref} to {WORKDIR}"));
        }
        None => {}
    }
    for mount in &task.file_mounts {
        let (what, told) = file_mount(mount, caller);
        row(what, told);
    }
    for (what, command) in [("setup", &task.setup), ("run", &task.run)] {
        if let Some(command) = command {
            row(what, first_line(command));
        }
    }
    rows
}

fn file_mount(mount: &FileMount, caller: &Caller) -> (&'static str, String) {
    let at = &mount.destination;
    match &mount.content {
        Content::Local(path) if path.is_dir() => {
            ("copy", format!("the directory {} to {at}", shown(path, caller)))
        }
        Content::Local(path) => ("copy", format!("the file {} to {at}", shown(path, caller))),
        Content::Copy(bucket) => ("copy", format!("{} to {at}", shown_bucket(bucket, caller))),
        Content::Mount { bucket, read_only } => {
            let manner = if *read_only { ", read-only" } else { "" };
            ("mount", format!("{} at {at}{manner}", shown_bucket(bucket, caller)))
        }
    }
}

fn shown_bucket(bucket: &Bucket, caller: &Caller) -> String {
    let mut told = bucket.uri.clone();
    if let Some(url) = &bucket.endpoint_url {
        told.push_str(&format!(" of {url}"));
    }
    if bucket.create {
        told.push_str(", created if it is missing,");
    }
    if !bucket.upload.is_empty() {
        let sources: Vec<_> = bucket.upload.iter().map(|upload| shown_upload(upload, caller)).collect();
        told.push_str(&format!(" with {},", sources.join(", ")));
    }
    told
}

fn shown_upload(upload: &Upload, caller: &Caller) -> String {
    match upload.name {
        Some(_) => shown(&upload.source, caller),
        None => format!("what is in {}", shown(&upload.source, caller)),
    }
}

/// A path of this machine, from the home where it is below it.
fn shown(path: &Path, caller: &Caller) -> String {
    match path.strip_prefix(&caller.home) {
        Ok(rest) if rest == Path::new("") => "~".to_owned(),
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) => path.display().to_string(),
    }
}

/// The first line of commands, and how many more there are.
fn first_line(command: &str) -> String {
    const CHARS_SHOWN_MAX: usize = 60;
    let mut lines = command.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default().trim();
    let mut told: String = first.chars().take(CHARS_SHOWN_MAX).collect();
    if told.len() < first.len() {
        told.push('…');
    }
    match lines.count() {
        0 => told,
        1 => format!("{told} (and 1 more line)"),
        more => format!("{told} (and {more} more lines)"),
    }
}

/// The plan for programs. Variables are named, and not told.
fn plan(task: &Task) -> Value {
    let path = |path: &Path| path.display().to_string();
    let upload = |upload: &Upload| {
        let name = upload.name.as_ref().map(|name| name.to_string_lossy());
        json!({ "source": path(&upload.source), "name": name })
    };
    let bucket = |bucket: &Bucket| {
        json!({
            "uri": bucket.uri,
            "create": bucket.create,
            "endpoint_url": bucket.endpoint_url,
            "region": bucket.region,
            "settings": bucket.settings,
            "upload": bucket.upload.iter().map(upload).collect::<Vec<_>>(),
        })
    };
    let mounts = task.file_mounts.iter().map(|mount| {
        let content = match &mount.content {
            Content::Local(source) => json!({ "local": path(source) }),
            Content::Copy(source) => json!({ "copy": bucket(source) }),
            Content::Mount { bucket: source, read_only } => {
                json!({ "mount": bucket(source), "read_only": read_only })
            }
        };
        json!({ "destination": mount.destination, "content": content })
    });
    let workdir = task.workdir.as_ref().map(|workdir| match workdir {
        Workdir::Local(dir) => json!({ "local": path(dir) }),
        Workdir::Git { url, git_ref } => json!({ "git": { "url": url, "ref": git_ref } }),
    });
    let mut plan = json!({
        "name": task.name,
        "num_nodes": task.num_nodes,
        "envs": task.envs,
        "secrets": task.secrets.keys().collect::<Vec<_>>(),
        "workdir": workdir,
        "file_mounts": mounts.collect::<Vec<_>>(),
        "setup": task.setup,
        "run": task.run,
        "notes": task.notes,
    });
    redact(task, &mut plan);
    plan
}

/// Takes the values of secrets out of all texts.
fn redact(task: &Task, value: &mut Value) {
    match value {
        Value::String(text) => *text = task.redacted(text),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(task, item)),
        Value::Object(entries) => entries.values_mut().for_each(|entry| redact(task, entry)),
        _ => {}
    }
}
