//! What an inspection found, as text for the operator.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// May hurt under circumstances.
    Warning,
    /// The tunnel does not work like this.
    Error,
}

/// One finding: what, where and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Stable name for programs, such as `forward-drop`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// Where: a table and chain, a file, an interface, a process.
    pub where_: String,
    /// What the operator should do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}). {}", self.code, self.what, self.where_, self.remedy)
    }
}
