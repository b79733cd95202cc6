//! Commands that are told to people, to be run as they are printed.
//!
//! Owns: [`word`], by which any path or URI is one word of a shell, and the commands that reach a mount's bucket as the mount does.

use crate::types::MountSpec;
use std::fmt::Write;

/// `pail ls -r` of all that a mount can show.
pub fn ls(spec: &MountSpec) -> String {
    format!("pail ls -r {}{}", word(&spec.source), reached_by(spec))
}

/// The command that mounts the same again, without its keys.
pub fn mount(spec: &MountSpec) -> String {
    let place = word(&spec.mount_point.display().to_string());
    let mut command = format!("pail mount {} {place}{}", word(&spec.source), reached_by(spec));
    let mut add = |flag: &str, value: Option<String>| {
        command.extend(value.map(|value| format!(" {flag} {}", word(&value))));
    };
    let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let is_default_ttl = spec.metadata_ttl == MountSpec::default_ttl(spec.read_only);
    add("--metadata-ttl", (!is_default_ttl).then(|| spec.metadata_ttl.to_string()));
    add("--uid", (spec.uid != own.0).then(|| spec.uid.to_string()));
    add("--gid", (spec.gid != own.1).then(|| spec.gid.to_string()));
    add("--file-mode", spec.new_file_mode.map(|mode| mode.to_string()));
    add("--dir-mode", spec.new_dir_mode.map(|mode| mode.to_string()));
    let settings = spec.settings.flags();
    let own = settings.iter().filter(|(flag, _)| !spec.settings.reaching_flags().contains(flag));
    for (flag, value) in own {
        add(flag, value.map(str::to_owned));
    }
    for (flag, is_set) in [("--read-only", spec.read_only), ("--allow-other", spec.allow_other)] {
        command.push_str(if is_set { " " } else { "" });
        command.push_str(if is_set { flag } else { "" });
    }
    command
}

/// The flags by which a bucket is reached as a mount reaches it.
fn reached_by(spec: &MountSpec) -> String {
    let flags =
        [("--endpoint-url", &spec.endpoint_url), ("--region", &spec.region), ("--profile", &spec.profile)];
    let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value.as_deref()?)));
    let valued = given.map(|(flag, value)| format!(" {flag} {}", word(value)));
    valued.chain(spec.settings.reaching_flags().iter().map(|flag| format!(" {flag}"))).collect()
}

/// `text` as one word of bash, zsh or ksh. Control characters are escaped, so that none reaches a terminal.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if !text.chars().any(char::is_control) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => c.to_string().bytes().for_each(|byte| {
                // Three digits each: what follows is never taken for one more. Writing to a string cannot fail.
                let _ = write!(quoted, "\\{byte:03o}");
            }),
            c => quoted.push(c),
        }
    }
    quoted + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_text_back() {
        let texts = [
            "",
            "plain/path.txt",
            "s3://b/p",
            "two words",
            "it's",
            "$HOME `x` \"y\" \\",
            "~",
            "-n",
            "new\nline 7",
            "\u{1b}[31m'",
            "\u{85}ü*",
            "#",
            "a=b",
        ];
        let command = format!("printf '%s\\0' {}", texts.map(word).join(" "));
        assert!(!command.chars().any(char::is_control), "{command}");
        let output = std::process::Command::new("bash").args(["-c", &command]).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), texts);
    }
}
