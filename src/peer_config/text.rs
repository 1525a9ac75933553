//! Texts that are safe in another product's language: nothing from our configuration may end a quotation or a line there.

use super::Target;
use super::error::RenderError;

/// The text, if it consists of characters that mean nothing special in any of the languages, without quotes:
/// letters, digits and `. _ - : @ / +`.
///
/// # Errors
/// [`RenderError::Unwritable`] with `what` as whose text it is.
pub fn plain<'a>(target: Target, what: &'static str, text: &'a str) -> Result<&'a str, RenderError> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-:@/+".contains(c);
    match !text.is_empty() && text.chars().all(harmless) {
        true => Ok(text),
        false => Err(unwritable(target, what, text)),
    }
}

/// The text, if it may stand between double quotes: printable ASCII without `"`, `\`, `$` and a backtick.
///
/// # Errors
/// [`RenderError::Unwritable`] with `what` as whose text it is.
pub fn quotable<'a>(target: Target, what: &'static str, text: &'a str) -> Result<&'a str, RenderError> {
    let harmless = |c: char| matches!(c, ' '..='~') && !"\"\\$`".contains(c);
    match text.chars().all(harmless) {
        true => Ok(text),
        false => Err(unwritable(target, what, text)),
    }
}

fn unwritable(target: Target, what: &'static str, text: &str) -> RenderError {
    RenderError::Unwritable { target, what, text: text.escape_default().to_string() }
}

/// Octets as hexadecimal digits.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
