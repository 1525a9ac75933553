//! What is written: texts with a head that says what they are, what was done to prove them and what to look at.

use std::fmt;

use super::Target;
use super::view::View;

/// What stands where a pre-shared key belongs.
pub(super) const PSK_PLACEHOLDER: &str = "PUT-THE-PRE-SHARED-KEY-HERE";

/// What was done to make sure that a target's configuration works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    /// Tunnels were brought up with it, unchanged, against this version.
    Run(&'static str),
    /// This version's own checker accepts it.
    Checked(&'static str),
    /// It was compared with this documentation and nothing else.
    Compared(&'static str),
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(version) => {
                write!(f, "Tested: tunnels are brought up with such a file, unchanged, by {version}.")
            }
            Self::Checked(version) => {
                write!(f, "Tested: {version} accepts such a file; no tunnel was brought up with it.")
            }
            Self::Compared(documentation) => {
                write!(
                    f,
                    "NOT TESTED on a device: compared with {documentation} only. Read it before you load it."
                )
            }
        }
    }
}

/// One file, or one sequence of commands, of the other end.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// Its file name, without a directory.
    pub name: String,
    /// Where it goes, in words: "/etc/swanctl/conf.d/cloud.conf", "the command line, in configuration mode".
    pub place: String,
    /// Whether a secret stands in it.
    pub secret: bool,
    /// What begins a comment in it, such as `#`.
    pub comment: &'static str,
    /// The whole text.
    pub text: String,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: &dyn fmt::Debug = if self.secret { &"(secret)" } else { &self.text };
        f.debug_struct("Document").field("name", &self.name).field("text", text).finish_non_exhaustive()
    }
}

/// A document that is being written. Notes may be added at any time; all stand in its head.
#[derive(Debug)]
pub struct Draft {
    target: Target,
    comment: &'static str,
    notes: Vec<String>,
    body: String,
}

impl Draft {
    /// A draft in a language in which `comment` begins a comment line.
    #[must_use]
    pub fn new(target: Target, comment: &'static str) -> Self {
        Self { target, comment, notes: Vec::new(), body: String::new() }
    }

    /// Adds something that whoever loads the document must know.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl AsRef<str>) {
        self.body.push_str(line.as_ref());
        self.body.push('\n');
    }

    /// Adds a line that begins with twice `depth` spaces.
    pub fn indented(&mut self, depth: usize, line: impl AsRef<str>) {
        self.line(format!("{:1$}{2}", "", 2 * depth, line.as_ref()));
    }

    /// The finished document; with the view's own notes in front of those that were added.
    #[must_use]
    pub fn finish(self, view: &View, name: &str, place: &str, secret: bool) -> Document {
        let Self { target, comment, notes, body } = self;
        let mut text = String::new();
        let mut say = |line: &str, first: &str, next: &str| {
            for (index, wrapped) in wrap(line, 110 - next.len()).iter().enumerate() {
                let lead = if index == 0 { first } else { next };
                text.push_str(format!("{comment} {lead}{wrapped}").trim_end());
                text.push('\n');
            }
        };
        say(
            &format!(
                "{}: the other end of peer `{}` of Skybridge endpoint `{}`",
                target.product(),
                view.peer,
                view.endpoint
            ),
            "",
            "",
        );
        say(&format!("Written by skybridge {}. It goes to: {place}", env!("CARGO_PKG_VERSION")), "", "");
        say(&target.proven().to_string(), "", "");
        for note in view.notes.iter().chain(&notes) {
            say(note, "- ", "  ");
        }
        text.push('\n');
        text.push_str(&body);
        Document { name: name.to_owned(), place: place.to_owned(), secret, comment, text }
    }
}

/// Breaks a text at spaces into lines of at most `width` characters; control characters become spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let Some(line) = lines.last_mut() else { continue };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
