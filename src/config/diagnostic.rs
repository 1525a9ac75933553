//! What is wrong with a configuration, shown with file, line and column, and what to do about it.
//!
//! The source line is shown too, but never a secret: whatever is written behind a key that is not known, or that
//! sounds like a secret, is masked.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Layers, Node, Place, Source, Value};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken, but somebody should look at it.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The file, or the environment variable.
    pub file: Option<String>,
    /// Line, from 1; 0 without a place.
    pub line: usize,
    /// Column in characters, from 1; 0 without a place.
    pub column: usize,
    rendered: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

/// Why a configuration is refused: every error found, and the warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn new(list: Vec<Diagnostic>) -> Self {
        Self(list)
    }

    /// Each, in the order of the checks.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            write!(f, "{diagnostic}\n\n")?;
        }
        match self.errors() {
            1 => f.write_str("1 error in the configuration"),
            errors => write!(f, "{errors} errors in the configuration"),
        }
    }
}

/// Builds a diagnostic at a place, or without one.
pub(crate) fn build(
    layers: &Layers,
    severity: Severity,
    code: &'static str,
    place: Option<&Place>,
    message: String,
    hint: Option<String>,
) -> Diagnostic {
    let found = place.and_then(|place| Some((layers.0.get(place.source)?, place.span.clone())));
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(message.clone()).id(code);
    let (file, line, column, masked) = match &found {
        None => (None, 0, 0, None),
        Some((source, span)) => {
            let (line, column) = line_and_column(&source.text, span.start);
            (Some(source.name.clone()), line, column, Some(mask(source)))
        }
    };
    let mut group = Group::with_title(title);
    if let (Some((source, span)), Some(masked)) = (&found, &masked) {
        let span = within(masked, span.clone());
        group = group.element(
            Snippet::source(masked.as_str())
                .path(source.name.as_str())
                .annotation(AnnotationKind::Primary.span(span)),
        );
    }
    if let Some(hint) = &hint {
        group = group.element(Level::HELP.message(hint.clone()));
    }
    let rendered = Renderer::plain().render(&[group]);
    Diagnostic { severity, code, message, hint, file, line, column, rendered }
}

/// A span that annotate-snippets can show: inside of the text, on character boundaries.
fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let snap = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = snap(span.start);
    start..snap(span.end).max(start)
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..within(text, offset..offset).start).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// Keys whose values are shown although their names sound like secrets: paths, all of them.
const SHOWN: [&str; 5] = ["psk_file", "psk_files", "key", "key_passphrase_file", "keylog"];

fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["psk", "secret", "pass", "key", "auth", "token", "credential", "pwd"]
        .iter()
        .any(|word| key.contains(word))
}

/// Whether a text can be shown where a path is expected: it looks like one, and not like base64 behind a slash.
pub(crate) fn looks_like_path(text: &str) -> bool {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:@".contains(c));
    let rooted = text.starts_with("credential:") || text.starts_with("./") || text.starts_with("../");
    let parent = std::path::Path::new(text).parent();
    let under_existing =
        text.starts_with('/') && parent.is_some_and(|parent| parent.parent().is_some() && parent.exists());
    plain && text.len() <= 4096 && (rooted || under_existing)
}

/// The source's text with everything that may be a secret replaced by as many stars.
fn mask(source: &Source) -> String {
    let mut spans = Vec::new();
    hide(&source.root, None, &mut spans);
    if !source.syntax.is_empty() {
        // What could not be parsed cannot be judged by its key: everything behind `=` goes where the line sounds so.
        let mut offset = 0;
        for line in source.text.split_inclusive('\n') {
            let body = line.trim_end();
            let at = body.find('=');
            let named = at.is_none_or(|at| body.get(..at).is_some_and(sounds_secret));
            if named && !body.trim_start().starts_with('[') {
                spans.push(offset + at.map_or(0, |at| at + 1)..offset + body.len());
            }
            offset += line.len();
        }
    }
    let mut masked = source.text.clone();
    for span in spans {
        let span = within(&masked, span);
        let stars: String = masked
            .get(span.clone())
            .unwrap_or("")
            .bytes()
            .map(|octet| if octet == b'\n' || octet == b'\r' { octet as char } else { '*' })
            .collect();
        masked.replace_range(span, &stars);
    }
    masked
}

fn hide(node: &Node, key: Option<&str>, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Table(entries) => entries.iter().for_each(|entry| hide(&entry.node, Some(&entry.key), spans)),
        Value::Array(nodes) => nodes.iter().for_each(|inner| hide(inner, key, spans)),
        value => {
            let shown = key.is_some_and(|key| {
                if SHOWN.contains(&key) {
                    matches!(value, Value::Text(text) if looks_like_path(text))
                } else {
                    super::schema::is_known_key(key) && !sounds_secret(key)
                }
            });
            if !shown {
                spans.push(node.span.clone());
            }
        }
    }
}
