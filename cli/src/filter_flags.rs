//! The options by which commands take some files and leave out others.
//!
//! Owns: [`FilterFlags`], `--include` and `--exclude` in the order in which they were written, which the derived parsers of options lose.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use pail_transfer::{Filters, Selection};

/// What the commands' help says of the globs.
pub const RULES: &str = "\
--include and --exclude take globs of names as they are below the source: * goes across slashes, so that \"*.tmp\" means all \
such files and \"cache/*\" (or cache/, or cache) all below cache. Everything is taken at first, and the last glob that matches a \
name decides: --exclude \"*\" --include \"*.txt\" takes text files alone.";

const INCLUDE: &str = "include";
const EXCLUDE: &str = "exclude";

/// Globs of names.
#[derive(Debug, Clone, Default)]
pub struct FilterFlags(pub Filters);

impl clap::FromArgMatches for FilterFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut globs = Vec::new();
        for (name, selection) in [(INCLUDE, Selection::Include), (EXCLUDE, Selection::Exclude)] {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            globs.extend(places.zip(values).map(|(place, glob)| (place, selection, glob.as_str())));
        }
        globs.sort_by_key(|(place, ..)| *place);
        let filters = Filters::new(globs.into_iter().map(|(_, selection, glob)| (selection, glob)));
        let invalid = |error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"));
        filters.map(Self).map_err(invalid)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for FilterFlags {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name("GLOB").action(ArgAction::Append).help(help)
        };
        command
            .arg(flag(INCLUDE, "Take names that match, which an --exclude before it leaves out"))
            .arg(flag(EXCLUDE, "Leave out names that match, unless an --include after it takes them"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
