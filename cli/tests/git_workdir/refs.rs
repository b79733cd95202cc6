//! What a ref means: branches, tags and commits, and what is none.

use crate::hosts::{Https, Place};

#[test]
fn branches_tags_and_commits_are_what_git_takes_them_for() {
    let (place, first) = Place::with_a_commit();
    place.source(&["tag", "light"]);
    place.source(&["tag", "-a", "-m", "x", "annotated"]);
    let second = place.commit(&[("a", "a2\n")]);
    let third = place.commit(&[("a", "a3\n")]);
    place.source(&["branch", "side/branch", &second]);
    // A branch and a tag of one name.
    place.source(&["branch", "both", &first]);
    place.source(&["tag", "both", &second]);
    place.push();
    let expect = |git_ref: Option<&str>, commit: &str, branch: Option<&str>| {
        let resolved = place.resolve(&place.url(), git_ref).json();
        assert_eq!(
            (resolved["commit"].as_str(), resolved["branch"].as_str()),
            (Some(commit), branch),
            "{git_ref:?}"
        );
        resolved
    };
    expect(None, &third, Some("main"));
    expect(Some("main"), &third, Some("main"));
    expect(Some("side/branch"), &second, Some("side/branch"));
    expect(Some("light"), &first, None);
    expect(Some("annotated"), &first, None);
    expect(Some(&second), &second, None);
    expect(Some(&second.to_uppercase()), &second, None);
    let both = expect(Some("both"), &first, Some("both"));
    assert!(both["notes"][0].as_str().unwrap().contains("both a branch and a tag"), "{both}");
    expect(Some("refs/tags/both"), &second, None);
    // The tip of a ref, and a commit below all of them.
    expect(Some(&third[..7]), &third, None);
    place.source(&["branch", "-D", "side/branch"]);
    place.source(&["tag", "-d", "both"]);
    place.git(&["-C", "srv/r.git", "update-ref", "-d", "refs/heads/side/branch"]);
    place.git(&["-C", "srv/r.git", "update-ref", "-d", "refs/tags/both"]);
    expect(Some(&second[..8]), &second, None);
    // A commit in full is taken as it is: the remote is not asked.
    let absent = place.resolve("file:///no/such/repository", Some(&second)).json();
    assert_eq!(absent["commit"], second.as_str());
}

#[test]
fn what_is_no_ref_is_told_with_what_was_meant() {
    let (mut place, _) = Place::with_a_commit();
    let url = place.url();
    place.source(&["branch", "feature/loader"]);
    place.push();
    place.resolve(&url, Some("mian")).fails(3, &["no branch, tag or commit \"mian\"", "did you mean main?"]);
    place.resolve(&url, Some("loader")).fails(3, &["did you mean feature/loader?"]);
    place.resolve(&url, Some("origin/main")).fails(3, &["did you mean main?"]);
    place.resolve(&url, Some("abcdef1")).fails(3, &["no branch, tag or commit \"abcdef1\""]);
    place.resolve(&url, Some("--upload-pack=x")).fails(2, &["no branch, tag or commit"]);
    place.resolve(&url, Some("HEAD~1")).fails(2, &["in full or abbreviated"]);
    place.resolve("https://me:hunter2@h.org/r", None).fails(2, &["GIT_TOKEN"]);
    let refused = place.resolve("https://me:hunter2@h.org/r", None);
    assert!(!refused.err.contains("hunter2"), "{refused:?}");
    // A commit that nobody pushed is found out where it is fetched.
    place.launch(&url, Some(&"ab".repeat(20))).fails(3, &["cannot fetch abababababab", "pushed"]);
    place.git(&["init", "-q", "--bare", &place.at("srv/empty.git")]);
    place.resolve(&url.replace("r.git", "empty.git"), None).fails(3, &["the repository is empty"]);
    place.set("PATH", "/nowhere");
    place.resolve(&url, None).fails(3, &["git is not installed", "apt-get install git"]);
}

#[test]
fn an_ambiguous_commit_is_told_with_those_it_may_be() {
    let (place, _) = Place::with_a_commit();
    // Four digits of 600 commits: some two of them agree, as birthdays do.
    let tree = place.source(&["rev-parse", "HEAD^{tree}"]);
    let mut stream = String::new();
    for count in 0..600 {
        stream.push_str(&format!("commit refs/heads/many\ncommitter t <t@t> {count} +0000\ndata 1\nx\n"));
    }
    std::fs::write(place.path("stream"), stream).unwrap();
    let import = std::fs::File::open(place.path("stream")).unwrap();
    let mut command = place.command("git");
    let imported = command
        .current_dir(place.path("src"))
        .args(["fast-import", "--quiet"])
        .stdin(import)
        .status()
        .unwrap();
    assert!(imported.success() && !tree.is_empty());
    place.push();
    let log = place.source(&["log", "--format=%H", "many"]);
    let mut commits: Vec<&str> = log.lines().collect();
    commits.sort_unstable();
    let twins = commits.windows(2).find(|pair| pair[0][..4] == pair[1][..4]).expect("two that begin alike");
    let ran = place.resolve(&place.url(), Some(&twins[0][..4]));
    ran.fails(2, &["more than one commit", &twins[0][..4], "more digits"]);
    let resolved = place.resolve(&place.url(), Some(&twins[0][..12])).json();
    assert_eq!(resolved["commit"], twins[0]);
}

#[test]
fn a_server_that_refuses_commits_by_their_id_is_fetched_by_refs() {
    let (mut place, first) = Place::with_a_commit();
    place.source(&["tag", "-a", "-m", "x", "v1"]);
    let second = place.commit(&[("a", "a2\n")]);
    let third = place.commit(&[("a", "a3\n")]);
    let https = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let url = https.url("v0/r.git");
    // At a ref, below one, and after the branch went on meanwhile.
    for (git_ref, commit) in [("v1", &first), (second.as_str(), &second), ("main", &third)] {
        assert_eq!(place.launch(&url, Some(git_ref)).json()["commit"], commit.as_str());
        assert_eq!(place.checkout(&["rev-parse", "HEAD"]), *commit);
        assert_eq!(place.checkout(&["status", "--porcelain"]), "");
    }
    let resolved = place.resolve(&url, Some("main")).json();
    place.commit(&[("a", "a4\n")]);
    std::fs::remove_dir_all(place.workdir("")).unwrap();
    place.check_out(&resolved, Some(&https.token)).json();
    assert_eq!(place.read("a"), "a3\n");
}
