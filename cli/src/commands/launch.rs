//! `pail launch`.

use super::{mount, umount};
use crate::progress::Draining;
use crate::task::{FileMount, Overrides, Task, is_name, workdir};
use crate::{block_on, daemon, shell, terminal};
use jiff::Timestamp;
use pail_control::quantity::Period;
use pail_control::types::{DrainReport, FlushRequest};
use pail_control::{Failure, FailureKind};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Run a task on this machine: mount its buckets, run setup and run, wait until what they wrote is in the bucket
///
/// The exit code is that of the task's run; 5 where it succeeded and something could not be published. The mounts stay, as a second
/// launch uses them again.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The task's file
    task: PathBuf,

    /// Set a variable of the task: NAME=VALUE, or NAME to take it from this environment; may be given several times
    #[arg(long = "env", value_name = "NAME=VALUE")]
    envs: Vec<String>,

    /// Take variables of the task from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,

    /// Set a secret of the task, which is shown nowhere but where `file_mounts` names a place by it: NAME to take it from this environment, or NAME=VALUE, which others can see in the list of processes
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    secrets: Vec<String>,

    /// Do not run setup
    #[arg(long)]
    no_setup: bool,

    /// How long to wait at the end for what is not in the bucket yet
    #[arg(long, value_name = "TIME", default_value_t = Period(Duration::from_secs(1800)))]
    flush_timeout: Period,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let home = std::env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(|| Failure::usage("HOME is not set").with_hint("set it to your home directory"))?;
    let task = Task::read(&arguments.task, &overrides(&arguments)?, &home)?;
    task.notes.iter().for_each(|note| terminal::note(note));
    block_on(launch(&arguments, &task, &home))
}

async fn launch(arguments: &Arguments, task: &Task, home: &Path) -> Result<ExitCode, Failure> {
    let mut places = Vec::new();
    for file_mount in &task.mounts {
        places.push(mount_one(file_mount).await?);
    }
    let dir = workdir(home);
    std::fs::create_dir_all(&dir)
        .map_err(|err| Failure::from_io(format!("cannot create {}", dir.display()), &err))?;
    let environment = environment(task);
    let steps =
        [("setup", task.setup.as_deref().filter(|_| !arguments.no_setup)), ("run", task.run.as_deref())];
    let mut code = 0;
    for (name, command) in steps {
        let Some(command) = command else { continue };
        code = shell::run(command, &dir, &environment).await?;
        if code != 0 {
            terminal::note(&format!("error: {name} ended with exit code {code}"));
            break;
        }
    }
    // Whatever became of the task: what it wrote belongs into the bucket.
    let mut report = flush_all(&places, arguments.flush_timeout.0).await;
    umount::print_left(&report);
    // Of another run, which has told its own exit code.
    report.left_behind.clear();
    Ok(match code {
        0 => umount::exit_code(&report),
        code => ExitCode::from(code),
    })
}

/// Mounts, and makes the place with sudo where this user may not and sudo asks no password.
async fn mount_one(file_mount: &FileMount) -> Result<PathBuf, Failure> {
    ensure_place(&file_mount.destination).await?;
    let request = mount::task_request(
        &file_mount.source,
        &file_mount.destination,
        file_mount.endpoint_url.clone(),
        file_mount.read_only,
        file_mount.create_bucket,
    )?;
    let outcome = daemon::mount(&request).await?;
    let place = outcome.spec.mount_point.clone();
    let source = &outcome.spec.source;
    if outcome.created_bucket {
        terminal::note(&format!("created the bucket of {source}"));
    }
    mount::note_empty_prefix(&outcome);
    mount::warn_of_refused_writes(&outcome);
    mount::note_left_behind(&outcome).await;
    match outcome.already_mounted {
        true => terminal::note(&format!("{source} is mounted at {} already", place.display())),
        false => terminal::note(&format!("mounted {source} at {}", place.display())),
    }
    Ok(place)
}

async fn ensure_place(place: &Path) -> Result<(), Failure> {
    // Told by the kernel's own word, for a dead mount is neither there nor missing.
    let missing =
        matches!(std::fs::symlink_metadata(place), Err(err) if err.kind() == std::io::ErrorKind::NotFound);
    let Some(parent) = place.ancestors().skip(1).find(|dir| dir.exists()) else { return Ok(()) };
    let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok();
    if !missing || writable {
        return Ok(());
    }
    let user = rustix::process::getuid().as_raw().to_string();
    let script = "mkdir -p -- \"$1\" && chown \"$2\" -- \"$1\"";
    let made = tokio::process::Command::new("sudo")
        .args(["-n", "sh", "-c", script, "sh"])
        .arg(place)
        .arg(&user)
        .stdin(std::process::Stdio::null())
        .output()
        .await;
    match made {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(no_place(place, parent, String::from_utf8_lossy(&output.stderr).trim())),
        Err(err) => Err(no_place(place, parent, &format!("sudo: {err}"))),
    }
}

fn no_place(place: &Path, parent: &Path, why: &str) -> Failure {
    Failure::other(format!("cannot create {}: you may not write to {}", place.display(), parent.display()))
        .because(why.to_owned())
        .with_hint("create it once as root and make it yours, or mount below your home directory")
}

/// The task's own variables, and those that SkyPilot's tasks rely on.
fn environment(task: &Task) -> BTreeMap<String, String> {
    let mut environment = task.environment.clone();
    let name = task.name.as_deref().unwrap_or("task");
    let id = format!("pail-{}-{name}-{}", Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S"), std::process::id());
    for (variable, value) in [
        ("SKYPILOT_NODE_RANK", "0"),
        ("SKYPILOT_NODE_IPS", "127.0.0.1"),
        ("SKYPILOT_NUM_NODES", "1"),
        ("SKYPILOT_TASK_ID", &id),
    ] {
        environment.insert(variable.to_owned(), value.to_owned());
    }
    environment
}

async fn flush_all(places: &[PathBuf], timeout: Duration) -> DrainReport {
    let mut all = DrainReport::default();
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    for place in places {
        let mut progress = Draining::new();
        let request = FlushRequest { path: Some(place.clone()), timeout_ms };
        let flushed = match daemon::running().await {
            Ok((client, _)) => client.flush(&request, &mut |step| progress.step(step)).await,
            Err(failure) => Err(failure),
        };
        match flushed {
            Ok(report) => {
                all.published += report.published;
                all.remaining.extend(report.remaining);
                all.left_behind.extend(report.left_behind);
                all.failures.extend(report.failures);
            }
            // Nobody can say that everything is in the bucket: that is not success.
            Err(failure) => all.failures.push(Failure { kind: FailureKind::Partial, ..failure }),
        }
    }
    all
}

fn overrides(arguments: &Arguments) -> Result<Overrides, Failure> {
    let mut overrides = Overrides::default();
    if let Some(path) = &arguments.env_file {
        let text = std::fs::read_to_string(path).map_err(|err| Failure::unreadable(path, &err))?;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) =
                assignment(line, &format!("--env-file {} line {}", path.display(), index + 1))?;
            overrides.envs.insert(name, unquoted(&value).to_owned());
        }
    }
    for told in &arguments.envs {
        overrides.envs.extend([assignment(told, "--env")?]);
    }
    for told in &arguments.secrets {
        overrides.secrets.extend([assignment(told, "--secret")?]);
    }
    Ok(overrides)
}

/// `NAME=VALUE`, or the value that this process's environment has for `NAME`. `place` is where it was given. Errors never show the
/// value, and nothing of what was given but for `--env`.
fn assignment(told: &str, place: &str) -> Result<(String, String), Failure> {
    let (name, value) = match told.split_once('=') {
        Some((name, value)) => (name.trim(), Some(Ok(value.to_owned()))),
        None => (told.trim(), std::env::var_os(told.trim()).map(OsString::into_string)),
    };
    let names = "names are of letters, digits and underscores, and do not begin with a digit";
    match value {
        Some(Ok(value)) if is_name(name) => Ok((name.to_owned(), value)),
        // With its NAME forgotten, any of it may be the secret.
        _ if place != "--env" => Err(Failure::usage(format!(
            "{place}: expected NAME=VALUE, or the NAME of a variable that is set and whose value is UTF-8"
        ))
        .with_hint(names)),
        _ if !is_name(name) => {
            // Without an equals sign it may be the value.
            let shown = if told.contains('=') { format!("{name:?}") } else { "what is given".to_owned() };
            Err(Failure::usage(format!("{place}: {shown} cannot be a variable's name")).with_hint(names))
        }
        Some(_) => Err(Failure::usage(format!("{place} {name}: its value is not UTF-8"))),
        None => Err(Failure::usage(format!("{place} {name}: it is not set in this environment"))
            .with_hint(format!("set it, or write {place} {name}=VALUE"))),
    }
}

/// Without the one pair of quotes that may be around it.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let between = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    between('"').or_else(|| between('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_keep_what_is_after_the_first_equals_sign() {
        assert_eq!(assignment("A=b=c", "--env").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(assignment("A=", "--env").unwrap(), ("A".into(), String::new()));
        let unset = assignment("PAIL_TEST_IS_NOT_SET_ANYWHERE", "--env").unwrap_err();
        assert_eq!(unset.message, "--env PAIL_TEST_IS_NOT_SET_ANYWHERE: it is not set in this environment");
        assert_eq!(assignment("PATH", "--env").unwrap().1, std::env::var("PATH").unwrap());
        for wrong in ["", "=x", "1A=x", "A B=x"] {
            assert!(assignment(wrong, "--env").unwrap_err().message.contains("cannot be a variable's name"));
        }
        for place in ["--secret", "--env-file f line 2"] {
            for (secret, part) in [("hunter2", "hunter"), ("ab+c==", "ab+c"), ("a b", "a b")] {
                let failure = assignment(secret, place).unwrap_err();
                assert!(!format!("{failure:?}").contains(part), "{failure:?}");
                assert!(failure.message.starts_with(place), "{failure:?}");
            }
        }
        assert_eq!(unquoted(" \"a b\" "), "a b");
        assert_eq!(unquoted("'a"), "'a");
    }
}
