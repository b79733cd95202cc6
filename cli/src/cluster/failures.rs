//! Failures of many nodes.
//!
//! Owns: [`alike`], which tells those once that differ in the node's name alone; and [`on`], how nodes are named together.

use pail_control::Failure;

/// The failures that are equal but for the node's name, with "the node" in its place, and the nodes of each; in the order of the first.
pub fn alike<'a>(failures: impl Iterator<Item = (&'a str, &'a Failure)>) -> Vec<(Failure, Vec<&'a str>)> {
    let mut groups: Vec<(Failure, Vec<&str>)> = Vec::new();
    for (host, failure) in failures {
        let failure = without_host(failure, host);
        match groups.iter_mut().find(|(known, _)| *known == failure) {
            Some((_, hosts)) => hosts.push(host),
            None => groups.push((failure, vec![host])),
        }
    }
    groups
}

/// The failure with "the node" for the node's name, so that those of many nodes are equal.
fn without_host(failure: &Failure, host: &str) -> Failure {
    let plain = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(host) {
            let (before, after) = (&rest[..at], &rest[at + host.len()..]);
            let is_word = !before.ends_with(is_part) && !after.starts_with(is_part);
            plain.push_str(before);
            plain.push_str(if is_word { "the node" } else { host });
            rest = after;
        }
        plain + rest
    };
    Failure {
        kind: failure.kind,
        message: plain(&failure.message),
        causes: failure.causes.iter().map(|cause| plain(cause)).collect(),
        hint: failure.hint.as_deref().map(plain),
    }
}

/// Some nodes by name, many by number.
pub fn on(hosts: &[&str]) -> String {
    match hosts {
        [one] => format!("on {one}"),
        few if few.len() <= 4 => format!("on {} nodes ({})", few.len(), few.join(", ")),
        many => format!("on {} nodes ({}, …)", many.len(), many[..3].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_s_name_within_a_word_is_a_part_of_the_word() {
        let full = |host: &str| {
            Failure::other(format!("{host}: No space left on device")).with_hint(format!("ssh {host}"))
        };
        let failures = [("dev", full("dev")), ("dev-worker1", full("dev-worker1"))];
        let groups = alike(failures.iter().map(|(host, failure)| (*host, failure)));
        assert_eq!(groups.len(), 1, "{groups:?}");
        assert_eq!(groups[0].0.message, "the node: No space left on device");
        assert_eq!(on(&groups[0].1), "on 2 nodes (dev, dev-worker1)");
    }
}
