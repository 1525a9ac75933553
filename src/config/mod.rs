//! The configuration: files and environment in, checked runtime types or diagnostics with places out.
//!
//! [`load`] reads `skybridge.toml`, then `conf.d/*.toml` beside it in the order of their names, then the
//! environment (`SKYBRIDGE_ENDPOINT__NAME`), each over those before; tables are merged key by key, everything else
//! is replaced. Every layer is checked strictly against one [schema](json_schema) (no unknown key, no converted
//! type), the `config` crate merges them, and the result is checked for meaning. All errors are found in one go
//! and shown with file, line, column and a hint; no message shows a secret.
//!
//! It does not look at the network, start anything or keep anything but what it returns.

mod check;
mod diagnostic;
mod diff;
mod env;
mod file;
mod schema;
mod secrets;
mod source;
mod types;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use diff::Changes;
pub use schema::json_schema;
pub use types::{
    ChildRoutes, ClampMss, Cluster, ClusterSource, Config, DataPlane, Described, Discovered, Endpoint,
    InternalLocal, LogFormat, Logging, Part, Peer, Polling, Proof, Proofs, Reference, ServiceMode,
    WhenStopped,
};

pub(crate) use check::is_host_name;
use check::{Context, References};
use diagnostic::build;
use secrets::Vault;
use source::{Layers, Place, Source};

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The main file; `conf.d` is looked for beside it.
    pub file: PathBuf,
    /// Environment variables: those that begin with `SKYBRIDGE_`, and `CREDENTIALS_DIRECTORY`.
    pub environment: Vec<(String, String)>,
    /// The time at which certificates are judged, Unix seconds.
    pub unix_now: i64,
    /// What clusters told of their ranges, by their names.
    pub discovered: BTreeMap<String, Discovered>,
}

impl Inputs {
    /// The given file, with this process's environment and clock.
    pub fn from_process(file: impl Into<PathBuf>) -> Self {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let wanted = name.starts_with("SKYBRIDGE_") || name == "CREDENTIALS_DIRECTORY";
            wanted.then(|| Some((name, value.into_string().ok()?))).flatten()
        });
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            file: file.into(),
            environment: environment.collect(),
            unix_now: i64::try_from(since).unwrap_or(i64::MAX),
            discovered: BTreeMap::new(),
        }
    }
}

/// The largest file that is taken for a configuration.
const MOST_OCTETS: u64 = 4 << 20;

/// Loads and checks a configuration.
///
/// # Errors
/// [`Diagnostics`] with everything that is wrong.
pub fn load(inputs: &Inputs) -> Result<Config, Diagnostics> {
    read_files(inputs, false)
}

/// Loads and checks a configuration but for its credentials: keys are not read, certificates only if they can be, and
/// neither `endpoint.user` nor `control_group` must exist here.
///
/// # Errors
/// As [`load`].
pub fn describe(inputs: &Inputs) -> Result<Described, Diagnostics> {
    read_files(inputs, true).map(Described)
}

fn read_files(inputs: &Inputs, sealed: bool) -> Result<Config, Diagnostics> {
    let mut out = Vec::new();
    let (mut layers, mut files) = (Layers::default(), Vec::new());
    for path in paths(&inputs.file, &mut out) {
        match read(&path) {
            Ok(text) => {
                layers.0.push(Source::parse(path.display().to_string(), text));
                files.push(path);
            }
            Err(message) => {
                let hint = "make it right, or give another with --config".to_owned();
                let message = format!("`{}` {message}", path.display());
                out.push(build(&layers, Severity::Error, "unreadable-file", None, message, Some(hint)));
            }
        }
    }
    let base = inputs.file.parent().map(Path::to_path_buf).unwrap_or_default();
    load_layers(layers, files, base, (inputs, sealed), out)
}

/// Checks the text of one file as [`load`] does, its environment aside. Relative paths start at `base`.
///
/// # Errors
/// As [`load`].
pub fn load_text(name: &str, text: &str, base: &Path, unix_now: i64) -> Result<Config, Diagnostics> {
    let layers = Layers(vec![Source::parse(name.to_owned(), text.to_owned())]);
    let inputs =
        Inputs { file: PathBuf::from(name), environment: Vec::new(), unix_now, discovered: BTreeMap::new() };
    load_layers(layers, vec![PathBuf::from(name)], base.to_path_buf(), (&inputs, false), Vec::new())
}

fn paths(main: &Path, out: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let mut paths = vec![main.to_path_buf()];
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            let mut more: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .filter(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')))
                .collect();
            more.sort();
            paths.extend(more);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let message = format!("{}: {error}", directory.display());
            let hint = Some("let this user read it".to_owned());
            out.push(build(&Layers::default(), Severity::Error, "unreadable-file", None, message, hint));
        }
    }
    paths
}

fn read(path: &Path) -> Result<String, String> {
    let in_words = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let meta = std::fs::metadata(path).map_err(in_words)?;
    if !meta.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if meta.len() > MOST_OCTETS {
        return Err(format!("is too large for a configuration ({} octets)", meta.len()));
    }
    let octets = std::fs::read(path).map_err(in_words)?;
    String::from_utf8(octets)
        .map_err(|error| format!("is not UTF-8 at octet {}", error.utf8_error().valid_up_to()))
}

fn load_layers(
    mut layers: Layers,
    files: Vec<PathBuf>,
    base: PathBuf,
    (inputs, sealed): (&Inputs, bool),
    mut out: Vec<Diagnostic>,
) -> Result<Config, Diagnostics> {
    let (variables, ignored) = env::layers(&inputs.environment);
    layers.0.extend(variables);
    let layers = layers;
    for name in ignored {
        let message = format!("the environment variable {name} names no setting and is ignored");
        let hint = "write SKYBRIDGE_TABLE__KEY, such as SKYBRIDGE_ENDPOINT__NAME".to_owned();
        out.push(build(&layers, Severity::Warning, "unknown-variable", None, message, Some(hint)));
    }
    for (source, layer) in layers.0.iter().enumerate() {
        for (message, span) in &layer.syntax {
            let place = Place { source, span: span.clone() };
            out.push(build(&layers, Severity::Error, "syntax", Some(&place), message.clone(), None));
        }
        if layer.syntax.is_empty() {
            schema::check(&layers, source, &mut out);
        }
    }
    if failed(&out) {
        return Err(Diagnostics::new(out));
    }
    let merged = match merge(&layers) {
        Ok(merged) => merged,
        Err(error) => {
            // Each layer has passed the schema: only a conflict between layers is left.
            let message = format!("the layers do not fit together at {error}");
            out.push(build(&layers, Severity::Error, "contradiction", None, message, None));
            return Err(Diagnostics::new(out));
        }
    };
    let credentials = inputs.environment.iter().find(|(name, _)| name == "CREDENTIALS_DIRECTORY");
    let vault = Vault {
        base,
        credentials: credentials.map(|(_, path)| PathBuf::from(path)),
        sealed,
        ..Vault::default()
    };
    let mut context =
        Context { layers: &layers, vault, unix_now: inputs.unix_now, references: References::default(), out };
    let (endpoint, peers, clusters) = check::check(merged, &inputs.discovered, &mut context);
    let Context { out, references, .. } = context;
    if failed(&out) {
        return Err(Diagnostics::new(out));
    }
    Ok(Config { endpoint, peers, clusters, discovering: references.relied_on, warnings: out, files })
}

fn failed(out: &[Diagnostic]) -> bool {
    out.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Lays the layers over each other. The error names a key path only, never a value.
fn merge(layers: &Layers) -> Result<file::ConfigFile, String> {
    let mut builder = ::config::Config::builder();
    for layer in &layers.0 {
        builder = builder.add_source(::config::File::from_str(&layer.text, ::config::FileFormat::Toml));
    }
    let place = |error: ::config::ConfigError| match error {
        ::config::ConfigError::Type { key, .. } => key.unwrap_or_else(|| "an unknown key".to_owned()),
        ::config::ConfigError::At { key, .. } => key.unwrap_or_else(|| "an unknown key".to_owned()),
        _ => "a key".to_owned(),
    };
    builder.build().map_err(place)?.try_deserialize().map_err(place)
}

#[cfg(test)]
mod tests;
