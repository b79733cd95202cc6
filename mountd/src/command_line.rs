//! Commands that are told to people, to be run as they are printed.
//!
//! Owns: [`word`], by which any path or URI is one word of a shell.

use std::fmt::Write;

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
