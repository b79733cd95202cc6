//! The search for the name that was meant.
//!
//! Owns: [`near_miss`], for places where an unknown name may be right; [`nearest`], for places where it cannot be.

/// How like two names must be (0 to 1) for one to be offered in place of the other.
const LIKENESS_MIN: f64 = 0.7;

/// The one of `known` that `name` surely was meant to be: they differ in case, in hyphens and underscores, or by a slip of the
/// fingers. Closer than [`nearest`], for places where a name that is not known may be right all the same.
pub fn near_miss<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
    let typed = plain(name);
    let slips = |candidate: &str| {
        let meant = plain(candidate);
        // Names of another length cannot be slips, however long they are.
        if typed.len().abs_diff(meant.len()) > 4 {
            return None;
        }
        let slips = strsim::damerau_levenshtein(&typed, &meant);
        (slips <= if meant.len() > 5 { 2 } else { 1 }).then_some(slips)
    };
    let near = known.iter().filter_map(|candidate| Some((slips(candidate)?, *candidate)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

/// The one of `known` that `name` was probably meant to be, in any case.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer ones are like none, and are not worth comparing.
    if name.len() > 300 {
        return None;
    }
    let typed = name.to_lowercase();
    let likeness = |candidate: &str| strsim::jaro_winkler(&typed, &candidate.to_lowercase());
    let scored = known.iter().map(|candidate| (likeness(candidate), *candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}
