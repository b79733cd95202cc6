//! Users and groups as people name them.
//!
//! Owns: [`user`] and [`group`], which take a number or a name that this machine knows (NSS: `/etc/passwd`, LDAP and their like).

use nix::unistd::{Group, User};

/// A user's number. Errors: no user of that name, or the look-up failed.
pub fn user(text: &str) -> Result<u32, String> {
    number(text, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

/// A group's number. Errors: as of [`user`].
pub fn group(text: &str) -> Result<u32, String> {
    number(text, "group", |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

fn number(
    text: &str,
    what: &str,
    find: impl FnOnce(&str) -> nix::Result<Option<u32>>,
) -> Result<u32, String> {
    match text.parse() {
        // chown(2) and the kernel take it for "as it is".
        Ok(u32::MAX) => return Err(format!("{} is no {what}'s number", u32::MAX)),
        Ok(number) => return Ok(number),
        Err(_) => {}
    }
    match find(text) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(format!("no {what} of that name")),
        Err(error) => Err(format!("the {what} cannot be looked up: {}", error.desc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_taken() {
        assert_eq!(user("1234"), Ok(1234));
        assert_eq!((user("root"), group("root")), (Ok(0), Ok(0)));
        assert_eq!(user("no such user"), Err("no user of that name".to_owned()));
        assert_eq!(user("4294967295"), Err("4294967295 is no user's number".to_owned()));
        assert_eq!(group("-1"), Err("no group of that name".to_owned()));
    }
}
