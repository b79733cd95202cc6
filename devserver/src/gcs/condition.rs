//! Preconditions by generation.
//!
//! Owns: [`Preconditions`], read from query parameters, and what they mean for reads and for writes.
//! Source: Cloud Storage documentation, "Request preconditions".

use crate::call::Call;
use crate::gcs::error::GcsError;
use crate::object::Object;
use crate::target::Target;

/// The preconditions of one request on one object.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Preconditions {
    pub(crate) generation_match: Option<u64>,
    generation_not_match: Option<u64>,
    metageneration_match: Option<u64>,
    metageneration_not_match: Option<u64>,
}

impl Preconditions {
    /// On the object itself. Errors: 400 for what is no number.
    pub(crate) fn of(target: &Target) -> Result<Self, GcsError> {
        Self::with_prefix(target, "if")
    }

    /// On an object that the request changes in another way than by an insert. Errors: those of [`of`](Self::of).
    pub(crate) fn of_change(call: &Call) -> Result<Self, GcsError> {
        Ok(Self::unless_ignored(call, Self::of(&call.target)?))
    }

    /// On the source of a copy.
    pub(crate) fn of_source(call: &Call) -> Result<Self, GcsError> {
        Ok(Self::unless_ignored(call, Self::with_prefix(&call.target, "ifSource")?))
    }

    fn unless_ignored(call: &Call, conditions: Self) -> Self {
        if call.settings.quirks.insert_conditions_alone { Self::default() } else { conditions }
    }

    pub(crate) fn of_generation(generation: Option<u64>) -> Self {
        Self { generation_match: generation, ..Self::default() }
    }

    fn with_prefix(target: &Target, prefix: &str) -> Result<Self, GcsError> {
        let get = |name: &str| number(target, &format!("{prefix}{name}"));
        Ok(Self {
            generation_match: get("GenerationMatch")?,
            generation_not_match: get("GenerationNotMatch")?,
            metageneration_match: get("MetagenerationMatch")?,
            metageneration_not_match: get("MetagenerationNotMatch")?,
        })
    }

    /// Errors: 412, and 304 where a read asks for what has changed.
    pub(crate) fn check_read(&self, object: &Object) -> Result<(), GcsError> {
        let attributes = &object.gcs;
        if !self.matches(Some(object)) {
            return Err(GcsError::condition_not_met());
        }
        let unchanged = self.generation_not_match == Some(attributes.generation)
            || self.metageneration_not_match == Some(attributes.metageneration);
        if unchanged { Err(GcsError::not_modified()) } else { Ok(()) }
    }

    /// Checks a write against what it would replace. Errors: 412.
    pub(crate) fn check_write(&self, current: Option<&Object>) -> Result<(), GcsError> {
        let generation = current.map_or(0, |object| object.gcs.generation);
        let metageneration = current.map(|object| object.gcs.metageneration);
        let refused = self.generation_not_match == Some(generation)
            || (metageneration.is_some() && self.metageneration_not_match == metageneration);
        if refused || !self.matches(current) { Err(GcsError::condition_not_met()) } else { Ok(()) }
    }

    fn matches(&self, current: Option<&Object>) -> bool {
        let generation = current.map_or(0, |object| object.gcs.generation);
        let metageneration = current.map(|object| object.gcs.metageneration);
        self.generation_match.is_none_or(|wanted| wanted == generation)
            && self.metageneration_match.is_none_or(|wanted| Some(wanted) == metageneration)
    }
}

/// A query parameter as a number. Errors: 400 when it is there and is none.
pub(crate) fn number(target: &Target, name: &str) -> Result<Option<u64>, GcsError> {
    match target.param(name) {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| GcsError::invalid(format!("Invalid long value for parameter {name}: '{text}'."))),
    }
}
