//! Commands for a POSIX shell. Whatever is written becomes one word of a command; nothing in it is run or expanded.

use std::fmt;

use crate::peer_config::Draft;

/// A word of a command, quoted where it needs to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word(String);

/// One word, whatever it contains: within single quotes a shell looks for nothing but the next one.
pub(super) fn word(text: impl AsRef<str>) -> Word {
    let text = text.as_ref();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-:@/+,=".contains(c);
    // A NUL cannot be in a word at all.
    let text: String = text.chars().filter(|c| *c != '\0').collect();
    match !text.is_empty() && text.chars().all(harmless) {
        true => Word(text),
        false => Word(format!("'{}'", text.replace('\'', "'\\''"))),
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A variable that whoever runs the commands has to set; they stop with `what` as long as it is not.
pub(super) fn must_set(draft: &mut Draft, variable: &'static str, what: &'static str) {
    draft.line(format!("{variable}=\"${{{variable}:?set it to {what}}}\""));
}

/// A command with its options, one a line.
pub(super) fn command(draft: &mut Draft, command: &str, options: &[String]) {
    let mut text = command.to_owned();
    for option in options {
        text.push_str(" \\\n    ");
        text.push_str(option);
    }
    draft.line(text);
}

/// Sets a variable to a JSON text.
pub(super) fn json(draft: &mut Draft, variable: &'static str, value: &serde_json::Value) {
    // A pretty-printed value has no line that is JSON and no raw line feed in a string.
    draft.line(format!("{variable}=$(cat <<'JSON'\n{value:#}\nJSON\n)"));
}
