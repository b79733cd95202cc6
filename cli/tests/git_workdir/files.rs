//! The files of a checkout: those of the commit, those of the user and of jobs, and what a killed one left.

use crate::hosts::{Https, Place, Ran, until};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Names and contents of what was kept aside.
fn kept(answer: &Value) -> Vec<(String, String)> {
    let at = Path::new(answer["kept_at"].as_str().unwrap_or("/nowhere"));
    let names = answer["kept"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    names.map(|name| (name.clone(), std::fs::read_to_string(at.join(&name)).unwrap_or_default())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn two_commits_in_turn_use_the_objects_of_the_first() {
    let (mut place, _) = Place::with_a_commit();
    // Content that does not compress.
    let big: String =
        (0..40_000u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let first = place.commit(&[("big", &big), ("gone", "gone\n")]);
    std::fs::remove_file(place.path("src/gone")).unwrap();
    let second = place.commit(&[("a", "a2\n")]);
    let https = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let url = https.url("r.git");
    let size = |place: &Place| -> u64 {
        let text = place.checkout(&["count-objects", "-v"]);
        let number = |key: &str| -> u64 {
            text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().parse().unwrap()
        };
        number("size:") + number("size-pack:")
    };
    assert_eq!(place.launch(&url, Some(&first)).json()["fetched"], true);
    assert_eq!(place.checkout(&["rev-list", "--count", "HEAD"]), "1", "no history");
    let before_kib = size(&place);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(place.workdir("big")).unwrap());
    assert_eq!(place.launch(&url, Some(&second)).json()["fetched"], true);
    assert!(before_kib > 100 && size(&place) < before_kib + 50, "{before_kib} KiB, then {}", size(&place));
    assert_eq!((place.read("a").as_str(), place.workdir("gone").exists()), ("a2\n", false));
    let same = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(place.workdir("big")).unwrap());
    assert_eq!(inode, same, "a file that is the same in both is not touched");
    // Back: nothing is asked of the server.
    https.requests();
    let answer = place.launch(&url, Some(&first)).json();
    assert_eq!((&answer["fetched"], https.requests().len()), (&json!(false), 0));
    assert_eq!((place.read("a").as_str(), place.read("gone").as_str()), ("a\n", "gone\n"));
    assert_eq!(place.checkout(&["status", "--porcelain"]), "");
}

#[test]
fn a_user_finds_a_branch_with_its_upstream_and_a_url_without_a_token() {
    let (mut place, first) = Place::with_a_commit();
    place.source(&["tag", "v1"]);
    place.push();
    let https = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let url = https.url("r.git");
    place.launch(&url, None).json();
    assert_eq!(place.checkout(&["status", "-sb", "--porcelain"]), "## main...origin/main");
    assert_eq!(place.checkout(&["remote", "get-url", "origin"]), url);
    assert_eq!(std::fs::metadata(place.workdir("run.sh")).unwrap().permissions().mode() & 0o111, 0o111);
    place.launch(&url, Some("v1")).json();
    assert_eq!(place.checkout(&["rev-parse", "--abbrev-ref", "HEAD"]), "HEAD");
    assert_eq!(place.checkout(&["rev-parse", "HEAD"]), first);
}

#[test]
fn the_same_commit_again_does_nothing_and_asks_nobody() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    let resolved = {
        place.set("GIT_TOKEN", &https.token);
        place.resolve(&https.url("r.git"), None).json()
    };
    assert_eq!(place.check_out(&resolved, Some(&https.token)).json()["changed"], true);
    place.write("out", "of a job");
    https.requests();
    let again = place.check_out(&resolved, Some(&https.token));
    assert_eq!((&again.json()["changed"], again.err.as_str()), (&json!(false), ""));
    assert!(https.requests().is_empty());
    // Something is missing: it is put back, still without a request.
    std::fs::remove_file(place.workdir("a")).unwrap();
    let answer = place.check_out(&resolved, Some(&https.token)).json();
    assert_eq!((&answer["changed"], &answer["fetched"]), (&json!(true), &json!(false)));
    assert_eq!((place.read("a").as_str(), place.read("out").as_str()), ("a\n", "of a job"));
    assert!(https.requests().is_empty());
}

#[test]
fn changed_files_and_those_in_the_way_are_kept_aside_and_named() {
    let (place, first) = Place::with_a_commit();
    let files = [
        ("new", "new\n"),
        ("same", "same\n"),
        ("dir", "file\n"),
        ("link/x", "x\n"),
        ("file/y", "y\n"),
        ("d/odd\nname", "o\n"),
    ];
    let second = place.commit(&files);
    let url = place.url();
    place.launch(&url, Some(&first)).json();
    place.write("a", "changed\n");
    place.write("d/b", "staged\n");
    place.checkout(&["add", "d/b"]);
    place.write("new", "mine\n");
    place.write("same", "same\n");
    place.write("dir/deep/output", "hours of work\n");
    place.write("file", "in the place of a directory\n");
    place.write("d/odd\nname", "odd\n");
    place.write("outputs/model.bin", "stays\n");
    place.write("elsewhere/x", "not ours to touch\n");
    symlink(place.workdir("elsewhere"), place.workdir("link")).unwrap();
    std::fs::set_permissions(place.workdir("run.sh"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = place.launch(&url, Some(&second));
    let answer = ran.json();
    let mut found = kept(&answer);
    found.sort();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "d/b", "d/odd\\nname", "dir/", "file", "link", "new"]);
    let at = Path::new(answer["kept_at"].as_str().unwrap());
    assert!(at.starts_with(place.path("home/.pail/kept")), "{at:?}");
    for (name, text) in [
        ("a", "changed\n"),
        ("d/b", "staged\n"),
        ("d/odd\nname", "odd\n"),
        ("dir/deep/output", "hours of work\n"),
        ("file", "in the place of a directory\n"),
        ("new", "mine\n"),
    ] {
        assert_eq!(std::fs::read_to_string(at.join(name)).unwrap(), text, "{name}");
    }
    assert!(
        ran.err.contains("kept aside 7 files")
            && ran.err.contains("d/odd\\nname")
            && ran.err.contains(at.to_str().unwrap()),
        "{ran:?}"
    );
    for (name, text) in files {
        assert_eq!(place.read(name), text, "{name}");
    }
    assert_eq!(
        (place.read("outputs/model.bin").as_str(), place.read("elsewhere/x").as_str()),
        ("stays\n", "not ours to touch\n")
    );
    assert_eq!(place.checkout(&["status", "--porcelain"]), "?? elsewhere/\n?? outputs/");
    // The same commit, changed: restored, and the change kept in a place of its own.
    place.write("new", "again\n");
    let answer = place.launch(&url, Some(&second)).json();
    assert_eq!(kept(&answer), pairs(&[("new", "again\n")]));
    assert_ne!(answer["kept_at"].as_str(), at.to_str());
    assert_eq!(place.read("new"), "new\n");
}

#[test]
fn a_workdir_that_was_synced_before_becomes_a_checkout() {
    let (place, _) = Place::with_a_commit();
    place.write("a", "a\n");
    place.write("d/b", "of another project\n");
    place.write("run.sh", "#!/bin/sh\n");
    place.write("notes", "n\n");
    let before = std::fs::metadata(place.workdir("a")).unwrap().modified().unwrap();
    let answer = place.launch(&place.url(), None).json();
    assert_eq!(kept(&answer), pairs(&[("d/b", "of another project\n")]));
    assert_eq!(
        std::fs::metadata(place.workdir("a")).unwrap().modified().unwrap(),
        before,
        "the same content is not written again"
    );
    assert_eq!(std::fs::metadata(place.workdir("run.sh")).unwrap().permissions().mode() & 0o100, 0o100);
    assert_eq!(place.checkout(&["status", "--porcelain"]), "?? notes");
}

#[test]
fn commits_made_on_a_node_get_a_branch() {
    let (place, _) = Place::with_a_commit();
    place.launch(&place.url(), None).json();
    place.write("a", "fixed on the node\n");
    place.checkout(&["commit", "-qam", "fix"]);
    let made = place.checkout(&["rev-parse", "HEAD"]);
    place.commit(&[("new", "new\n")]);
    let ran = place.launch(&place.url(), None);
    assert_eq!((ran.json()["kept"].as_array().unwrap().len(), place.read("a").as_str()), (0, "a\n"));
    let branch =
        place.checkout(&["for-each-ref", "--format=%(refname:short)", "--points-at", &made, "refs/heads"]);
    assert!(branch.starts_with("kept/") && ran.err.contains(&branch), "{branch}: {ran:?}");
}

#[test]
fn names_that_are_no_text_and_names_of_git_s_own_are_files_like_others() {
    use std::os::unix::ffi::OsStrExt;
    let (place, first) = Place::with_a_commit();
    let odd = std::ffi::OsStr::from_bytes(b"d/\xff\xfe \"'\t$(x)");
    std::fs::write(place.path("src").join(odd), "odd\n").unwrap();
    std::fs::write(place.path("src/-rf"), "dash\n").unwrap();
    let second = place.commit(&[]);
    let url = place.url();
    place.launch(&url, Some(&second)).json();
    let path = place.path("home/sky_workdir").join(odd);
    std::fs::write(&path, "mine\n").unwrap();
    place.write("-rf", "mine\n");
    let answer = place.launch(&url, Some(&first)).json();
    let at = Path::new(answer["kept_at"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(at.join(odd)).unwrap(), "mine\n");
    assert_eq!(std::fs::read_to_string(at.join("-rf")).unwrap(), "mine\n");
    assert!(!path.exists());
}

#[test]
fn nothing_of_a_repository_or_of_a_checkout_is_run() {
    let (place, first) = Place::with_a_commit();
    let second = place.commit(&[("a", "a2\n")]);
    let url = place.url();
    place.launch(&url, Some(&first)).json();
    let proof = place.at("proof");
    let script = format!("#!/bin/sh\necho \"$0\" >> {proof}\n");
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "fsmonitor"] {
        place.write(&format!(".git/hooks/{hook}"), &script);
        std::fs::set_permissions(
            place.workdir(&format!(".git/hooks/{hook}")),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
    }
    place.checkout(&["config", "core.fsmonitor", ".git/hooks/fsmonitor"]);
    let _ = std::fs::remove_file(&proof);
    place.launch(&url, Some(&second)).json();
    assert_eq!(std::fs::read_to_string(&proof).unwrap_or_default(), "");
}

#[test]
fn submodules_are_warned_about_and_come_when_asked_for() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let url = https.url("r.git");
    place.git(&["init", "-q", "-b", "main", "inner"]);
    std::fs::write(place.path("inner/file"), "inner\n").unwrap();
    place.git(&["-C", "inner", "add", "-A"]);
    place.git(&["-C", "inner", "commit", "-qm", "inner"]);
    place.git(&["clone", "-q", "--bare", "inner", "srv/inner.git"]);
    let inner = place.at("srv/inner.git");
    place.source(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &inner, "sub"]);
    // A relative address: beside the repository, with the same token.
    place.source(&["config", "-f", ".gitmodules", "submodule.sub.url", "../inner.git"]);
    place.commit(&[]);
    let ran = place.launch(&url, None);
    ran.json();
    assert!(ran.err.contains("has submodules, which are not checked out"), "{ran:?}");
    assert!(!place.workdir("sub/file").exists());
    let mut request = place.launching(&url, None);
    request["options"] = json!({"submodules": true});
    let ran = place.step(&request);
    ran.json();
    assert_eq!((place.read("sub/file").as_str(), ran.err.as_str()), ("inner\n", ""));
    assert_eq!(place.step(&request).json()["changed"], false);
}

#[test]
fn a_fetch_that_was_killed_is_repaired_by_the_next() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let resolved = place.resolve(&https.url("r.git"), None).json();
    let request = place.checking_out(&resolved, Some(&https.token));
    https.hold();
    let mut child = place.begin(&request);
    https.until_held();
    child.kill().unwrap();
    child.wait().unwrap();
    kill_gits(&place);
    // What git leaves when it is killed while it writes.
    for name in [
        "shallow.lock",
        "index.lock",
        "HEAD.lock",
        "config.lock",
        "objects/pack/tmp_pack_cut",
        "refs/heads/main.lock",
    ] {
        place.write(&format!(".git/{name}"), "");
    }
    https.release();
    let answer = place.step(&request).json();
    assert_eq!((answer["kept"].as_array().unwrap().len(), place.read("a").as_str()), (0, "a\n"));
    assert_eq!(place.checkout(&["status", "--porcelain"]), "");
    assert!(!place.workdir(".git/objects/pack/tmp_pack_cut").exists());
}

/// Ends the gits that a killed command left at work in the checkout.
fn kill_gits(place: &Place) {
    let at = place.path("home/sky_workdir");
    until("no git is at work", || {
        let ids = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours: Vec<i32> = ids
            .filter(|id| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd.starts_with(&at)))
            .filter(|id| {
                std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.starts_with("git"))
            })
            .collect();
        for id in &ours {
            // It may have ended by itself.
            let id = rustix::process::Pid::from_raw(*id).unwrap();
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
        ours.is_empty().then_some(())
    });
}

#[test]
fn a_checkout_that_was_killed_among_its_files_loses_and_blames_nothing() {
    let (place, first) = Place::with_a_commit();
    let numbered =
        |round: &str| (0..3000).map(|n| (format!("many/{n}"), format!("{round} {n}\n"))).collect::<Vec<_>>();
    let commit = |round: &str| {
        let files = numbered(round);
        place.commit(&files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>())
    };
    let (second, third) = (commit("second"), commit("third"));
    let url = place.url();
    place.launch(&url, Some(&first)).json();
    place.write("mine", "mine\n");
    let mut child = place.begin(&place.launching(&url, Some(&second)));
    until("some files are there", || place.workdir("many/5").exists().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    kill_gits(&place);
    let answer = place.launch(&url, Some(&third)).json();
    // At most the one file that was being written differs from both commits.
    assert!(answer["kept"].as_array().unwrap().len() <= 1, "{answer}");
    assert_eq!(place.checkout(&["status", "--porcelain"]), "?? mine");
    assert_eq!((place.read("many/2999").as_str(), place.read("mine").as_str()), ("third 2999\n", "mine\n"));
}

#[test]
fn a_broken_repository_is_made_anew_and_its_files_stay() {
    let (place, first) = Place::with_a_commit();
    let url = place.url();
    let second = place.commit(&[("a", "a2\n")]);
    let broken_by = |breaking: &dyn Fn(&Path)| -> Ran {
        let _ = std::fs::remove_dir_all(place.workdir(""));
        place.launch(&url, Some(&first)).json();
        place.write("mine", "mine\n");
        breaking(&place.workdir(".git"));
        let ran = place.launch(&url, Some(&second));
        ran.json();
        assert_eq!((place.read("a").as_str(), place.read("mine").as_str()), ("a2\n", "mine\n"));
        assert_eq!(place.checkout(&["status", "--porcelain"]), "?? mine");
        ran
    };
    let index = broken_by(&|git| std::fs::write(git.join("index"), "torn").unwrap());
    assert_eq!(index.err, "", "an index is read from the commit again");
    broken_by(&|git| {
        std::fs::remove_dir_all(git.join("objects")).unwrap();
        std::fs::create_dir(git.join("objects")).unwrap();
    });
    broken_by(&|git| {
        each_file(&git.join("objects"), &|path| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, "torn").unwrap();
        })
    });
    broken_by(&|git| std::fs::remove_file(git.join("HEAD")).unwrap());
    let file = broken_by(&|git| {
        std::fs::remove_dir_all(git).unwrap();
        std::fs::write(git, "gitdir: /elsewhere\n").unwrap();
    });
    assert!(file.err.contains("is broken and is made anew") && file.err.contains(".git"), "{file:?}");
}

fn each_file(dir: &Path, work: &dyn Fn(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.path().is_dir() {
            true => each_file(&entry.path(), work),
            false => work(&entry.path()),
        }
    }
}

#[test]
fn files_in_lfs_come_when_asked_for() {
    let (place, _) = Place::with_a_commit();
    place.source(&["lfs", "install", "--local"]);
    place.source(&["remote", "add", "origin", &place.url()]);
    std::fs::write(place.path("src/.gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    std::fs::write(place.path("src/x.bin"), "large\n").unwrap();
    place.source(&["add", "-A"]);
    place.source(&["commit", "-qm", "lfs"]);
    place.source(&["push", "-q", "origin", "main"]);
    let mut request = place.launching(&place.url(), None);
    let ran = place.step(&request);
    ran.json();
    assert!(ran.err.contains("has files in git LFS, which are not fetched"), "{ran:?}");
    assert!(place.read("x.bin").starts_with("version https://git-lfs"));
    request["options"] = json!({"lfs": true});
    let ran = place.step(&request);
    ran.json();
    assert_eq!((place.read("x.bin").as_str(), ran.err.as_str()), ("large\n", ""));
    assert_eq!(place.step(&request).json()["changed"], false);
}
