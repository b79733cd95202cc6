//! The YAML library's words, as who wrote the file needs them.
//!
//! Owns: [`in_plain_words`]. The library stops where it cannot go on, which is often lines behind what is wrong: an open bracket, a tab, the
//! beginning of a second document are looked for, and shown in place of it.

use super::mistakes::Mistake;
use super::yaml::{Place, lines};

/// What the library says for programmers, by a part of it; what it means to who wrote the file; and what to do about it.
const PLAIN_WORDS: &[(&str, &str, &str)] = &[
    (
        "cannot deserialize null into string",
        "a key is missing here",
        "a lone ~ means nothing in YAML: put it into quotes",
    ),
    ("expected string scalar", "a key must be text", "put it into quotes"),
    ("recursive references", "an alias within what it stands for", "write out what is meant"),
    ("non-finite float", "not a number that can be used", "put it into quotes"),
    ("invalid u64", "not a whole number", "write digits alone"),
    ("YAML merge value", "`<<` takes a map, or a list of maps", "write <<: *NAME, with the &NAME of a map"),
    (
        "alias replay limit",
        "the aliases stand for too much, more than 100,000 values",
        "write out what is meant",
    ),
    (
        "recursion limit",
        "values lie too deep in one another, more than 48 deep",
        "close brackets, or is this the right file?",
    ),
    ("unclosed quote", "the quote is not closed", "write the same quote where the text ends"),
    (
        "content after single-quoted",
        "text after the closing quote",
        "within '…' a quote is written twice, as in 'it''s'",
    ),
    (
        "content after double-quoted",
        "text after the closing quote",
        "within \"…\" a quote is written with a backslash, as in \"an \\\"x\\\"\"",
    ),
    (
        "unknown escape",
        "an unknown escape in double quotes",
        "write \\\\ for a backslash, or put the text into single quotes",
    ),
    (
        "did not find expected '-'",
        "this line is indented differently from the items above",
        "items of one list begin in the same column",
    ),
    (
        "did not find expected key",
        "this line is indented differently from those of its map",
        "keys of one map begin in the same column",
    ),
    (
        "did not find expected <document start>",
        "the map has ended before this line",
        "keys of one map begin in the same column",
    ),
    ("invalid indentation", "this line is not indented far enough for what it is in", "indent it further"),
    (
        "unknown anchor",
        "an alias without its anchor",
        "write &NAME before the value that *NAME stands for, above this line",
    ),
    ("budget breached", "the file has too many values", "is this the right file?"),
];

/// The mistake that the library's words of `text` at a place mean: without the place in their end, which is told already, and without
/// what is for programmers alone.
pub fn in_plain_words(what: &str, text: &str, place: Place) -> Mistake {
    let line = lines(text).nth(index(place.line)).unwrap_or_default();
    let before: String = line.chars().take(index(place.column)).collect();
    let begins_with_tab = line.trim_start_matches(' ').starts_with('\t');
    if (what.contains("tab") || begins_with_tab)
        && let Some(tab) = indenting_tab(text, place)
    {
        return Mistake::new(tab, "a tab, where YAML wants spaces").with_hint("indent with spaces alone");
    }
    if what.contains("multiple YAML documents") {
        return Mistake::new(
            second_document(text, place),
            "a second document begins here, and a task is one",
        )
        .with_hint("keep each task in a file of its own");
    }
    if let Some(rest) = what.strip_prefix("unexpected character: `") {
        return unexpected_character(rest, line, place);
    }
    if what.contains("mismatched bracket") {
        let brackets: Vec<&str> = what.split('\'').filter(|part| part.chars().count() == 1).collect();
        if let [open, close, ..] = brackets[..] {
            return Mistake::new(place, format!("{open} is closed by {close}"))
                .with_hint("close each bracket by its own kind");
        }
    }
    let is_in_brackets = ["flow", "illegal placement", "simple key expected", "unexpected end", "eof"];
    if is_in_brackets.iter().any(|part| what.contains(part))
        && let Some((bracket, open)) = open_bracket(text, place)
    {
        let close = if bracket == '[' { ']' } else { '}' };
        return Mistake::new(open, format!("this {bracket} is not closed")).with_hint(format!(
            "write {close} where it ends; text that begins with {bracket} goes into quotes"
        ));
    }
    if what.contains("mapping values are not allowed") {
        return match before.contains(": ") {
            true => Mistake::new(place, "a second `: ` in one line")
                .with_hint("put the value into quotes, if the colon belongs to it"),
            false => Mistake::new(place, "a key where none can be: the line above has a value already")
                .with_hint("keys of one map begin in the same column"),
        };
    }
    if what.contains("simple key expected") || what.contains("simple key is no longer valid") {
        return expected_key(line, place);
    }
    let is_item = line.trim_start() == "-" || line.trim_start().starts_with("- ");
    if is_item && what.contains("did not find expected") {
        return Mistake::new(place, "this item is neither of the list above nor a key")
            .with_hint("items of one list begin in the same column, and a map has none");
    }
    if let Some((_, plain, hint)) = PLAIN_WORDS.iter().find(|(part, ..)| what.contains(part)) {
        let hint = Some((*hint).to_owned()).filter(|hint| !hint.is_empty());
        return Mistake::new(place, *plain).with_hint_if(hint);
    }
    // As in "duplicate mapping key: a, set DuplicateKeyPolicy in Options if acceptable".
    let what = what.split(" at line ").next().unwrap_or(what);
    Mistake::new(place, what.split(", set ").next().unwrap_or(what))
}

fn index(count_from_one: u64) -> usize {
    usize::try_from(count_from_one.saturating_sub(1)).unwrap_or(usize::MAX)
}

fn place(line: usize, column: usize) -> Place {
    let count = |index: usize| u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
    Place { line: count(line), column: count(column) }
}

/// The first tab among the spaces that begin a line, from the line of a place on.
fn indenting_tab(text: &str, from: Place) -> Option<Place> {
    let mut after = lines(text).enumerate().skip(index(from.line));
    after.find_map(|(number, line)| {
        let column = line.chars().take_while(|c| matches!(c, ' ' | '\t')).position(|c| c == '\t')?;
        Some(place(number, column))
    })
}

/// The `---` that begins the document of a place.
fn second_document(text: &str, at: Place) -> Place {
    let before = lines(text).enumerate().take(index(at.line).saturating_add(1));
    before.filter(|(_, line)| line.starts_with("---")).last().map_or(at, |(number, _)| place(number, 0))
}

fn unexpected_character(rest: &str, line: &str, at: Place) -> Mistake {
    let told = rest.chars().next().unwrap_or_default();
    let from = index(at.column);
    // Control characters are told by their number, and anywhere in a text.
    if let Some(column) = line
        .chars()
        .enumerate()
        .skip(from)
        .find(|(_, c)| c.is_control() && *c != '\t')
        .map(|(column, _)| column)
    {
        let number = line.chars().nth(column).map_or(0, u32::from);
        return Mistake::new(
            Place { column: place(0, column).column, ..at },
            format!("the control character U+{number:04X}"),
        )
        .with_hint("delete it, or write it as \\xNN in double quotes");
    }
    Mistake::new(at, format!("text cannot begin with {told}")).with_hint("put it into quotes")
}

fn expected_key(line: &str, at: Place) -> Mistake {
    let mistake = Mistake::new(at, "expected `key: value`");
    match line.trim().split_once(':') {
        Some((key, value)) if !value.is_empty() && !value.starts_with(' ') && super::is_name(key) => {
            mistake.with_hint(format!("write a space after the colon of `{key}:`"))
        }
        _ => mistake.with_hint("indent it, if it belongs to the text above"),
    }
}

/// The last bracket before a place that begins a value and is not closed. Quotes and comments are skipped.
fn open_bracket(text: &str, before: Place) -> Option<(char, Place)> {
    let mut open: Vec<(char, Place)> = Vec::new();
    let mut quote = None;
    for (number, line) in lines(text).enumerate().take(index(before.line).saturating_add(1)) {
        // The last character, and the last one that is no space: a value may begin in a line, or after an indicator.
        let (mut last, mut indicator) = ('\n', '\n');
        let mut chars = line.chars().enumerate();
        while let Some((column, c)) = chars.next() {
            let here = place(number, column);
            if here == before {
                break;
            }
            let is_apart = matches!(last, '\n' | ' ') && matches!(indicator, '\n' | ':' | '-' | '?');
            let begins_value = is_apart || matches!(indicator, ',' | '[' | '{');
            match (quote, c) {
                (Some('"'), '\\') => _ = chars.next(),
                (Some(end), c) if c == end => quote = None,
                (Some(_), _) => {}
                (None, '#') if matches!(last, '\n' | ' ') => break,
                (None, '"' | '\'') if begins_value => quote = Some(c),
                (None, '[' | '{') if !open.is_empty() || begins_value => open.push((c, here)),
                (None, ']' | '}') => _ = open.pop(),
                _ => {}
            }
            last = c;
            if !c.is_whitespace() {
                indicator = c;
            }
        }
    }
    open.pop()
}
