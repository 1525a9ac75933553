//! The texts that a configuration is laid together from, and where in them each value stands.
//!
//! The `config` crate merges values and forgets their places; this keeps for every layer a tree of spans, in
//! which a value is found again by its path.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step from a table or array to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The path of a value from the root, such as `peers.office.ike[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct At(Vec<Step>);

impl At {
    pub(crate) fn root() -> Self {
        Self::default()
    }

    #[must_use]
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    #[must_use]
    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// With an index, if there is one.
    #[must_use]
    pub(crate) fn maybe_index(&self, index: Option<usize>) -> Self {
        index.map_or_else(|| self.clone(), |index| self.index(index))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// A value of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// `None` if it does not fit.
    Integer(Option<i64>),
    Float,
    Boolean,
    Datetime,
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key with its place and value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

impl Value {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float => "a fractional number",
            Self::Boolean => "true or false",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// One file, or one environment variable in the form of a file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Path of the file, or the variable's name.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) root: Node,
    /// Syntax errors: message and place.
    pub(crate) syntax: Vec<(String, Range<usize>)>,
}

impl Source {
    pub(crate) fn parse(name: String, text: String) -> Self {
        let (root, errors) = DeTable::parse_recoverable(&text);
        let end = text.len();
        let syntax = errors
            .iter()
            .map(|error| (error.message().to_owned(), error.span().unwrap_or(end..end)))
            .collect();
        let root = Node { span: 0..end, value: table(root.get_ref()) };
        Self { name, text, root, syntax }
    }

    /// The places of the value at a path: of its key (an array element has none of its own) and of itself.
    fn find(&self, at: &At) -> Option<(Range<usize>, &Node)> {
        let mut key_span = 0..0;
        let mut node = &self.root;
        for step in &at.0 {
            match (step, &node.value) {
                (Step::Key(key), Value::Table(entries)) => {
                    let entry = entries.iter().find(|entry| entry.key == *key)?;
                    key_span = entry.key_span.clone();
                    node = &entry.node;
                }
                (Step::Index(index), Value::Array(nodes)) => {
                    node = nodes.get(*index)?;
                    key_span = node.span.clone();
                }
                _ => return None,
            }
        }
        Some((key_span, node))
    }
}

fn table(table: &DeTable<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            node: Node { span: value.span(), value: value_of(value.get_ref()) },
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Value::Table(entries)
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(_) => Value::Boolean,
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(nodes) => Value::Array(
            nodes.iter().map(|node| Node { span: node.span(), value: value_of(node.get_ref()) }).collect(),
        ),
        DeValue::Table(inner) => table(inner),
    }
}

/// The layers, later ones over earlier ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers(pub(crate) Vec<Source>);

/// A place in a layer.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) source: usize,
    pub(crate) span: Range<usize>,
}

impl Layers {
    /// Where a value stands, in the layer that has the last word on it. Where it is missing, the key of the table
    /// that should have it.
    pub(crate) fn locate(&self, at: &At) -> Option<Place> {
        let mut at = at.clone();
        let mut whole = true;
        loop {
            let found = (self.0.iter().enumerate().rev())
                .find_map(|(source, layer)| Some((source, layer.find(&at)?)));
            if let Some((source, (key_span, node))) = found
                && !at.0.is_empty()
            {
                let is_table = matches!(node.value, Value::Table(_));
                let span = if whole && !is_table { node.span.clone() } else { key_span };
                return Some(Place { source, span });
            }
            whole = false;
            at.0.pop()?;
        }
    }

    /// Where a key stands, or as [`Layers::locate`].
    pub(crate) fn locate_key(&self, at: &At) -> Option<Place> {
        let found = (self.0.iter().enumerate().rev())
            .find_map(|(source, layer)| Some(Place { source, span: layer.find(at)?.0 }));
        found.or_else(|| self.locate(at))
    }

    /// Where a part of a string stands; the whole where it is written with escapes.
    pub(crate) fn locate_within(&self, at: &At, text: &str, part: Range<usize>) -> Option<Place> {
        let place = self.locate(at)?;
        let layer = self.0.get(place.source)?;
        let written = layer.text.get(place.span.clone())?;
        let plain = written.len() == text.len() + 2 && written.get(1..written.len() - 1) == Some(text);
        if !plain || part.is_empty() {
            return Some(place);
        }
        let start = place.span.start + 1;
        Some(Place { source: place.source, span: start + part.start..start + part.end })
    }
}
