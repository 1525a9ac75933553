//! Files with secrets, and who may read them.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, getegid, geteuid};
use zeroize::Zeroizing;

use crate::crypto::Secret;
use crate::crypto::hash::sha256;

/// Far above any key, far below what hurts.
const MOST_OCTETS: u64 = 1 << 20;

/// The user that the packages make for the service.
const PACKAGED_USER: &str = "skybridge";

/// What the packaged unit calls the folder of credentials: systemd then names each file `skybridge_NAME`.
const PACKAGED_PREFIX: &str = "skybridge_";

/// That folder, beside the configuration.
const PACKAGED_FOLDER: &str = "credentials";

/// Why a file cannot be used.
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Tells whether two readings were equal. Opaque, since secrets went into it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// Where files are looked for and who the service is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vault {
    /// Relative paths start here.
    pub(crate) base: PathBuf,
    /// `$CREDENTIALS_DIRECTORY` of systemd.
    pub(crate) credentials: Option<PathBuf>,
    /// User and group of `endpoint.user`, or else of the packaged service.
    pub(crate) service: Option<(u32, u32)>,
    /// Whether secrets stay unread: the configuration is only to be described.
    pub(crate) sealed: bool,
    /// Hashes of what was read since the last [`Vault::fingerprint`].
    pub(crate) digests: Vec<[u8; 32]>,
}

impl Vault {
    /// Takes the service's user by name; `false` if there is none.
    pub(crate) fn set_service(&mut self, name: &str) -> bool {
        match User::from_name(name) {
            Ok(Some(user)) => {
                self.service = Some((user.uid.as_raw(), user.gid.as_raw()));
                true
            }
            _ => false,
        }
    }

    /// Takes the packaged service's user, so that root's check judges files as the service does.
    pub(crate) fn set_packaged_service(&mut self) {
        self.set_service(PACKAGED_USER);
    }

    /// The path that a written one means, and whether systemd guards it.
    pub(crate) fn path(&self, written: &str) -> Result<(PathBuf, bool), Refusal> {
        let Some(name) = written.strip_prefix("credential:") else {
            return Ok((self.base.join(written), false));
        };
        if name.is_empty() || name.contains('/') || name == ".." {
            return Err(Refusal {
                code: "bad-credential",
                message: "a credential is named by one word".to_owned(),
                hint: Some("write \"credential:NAME\" as in LoadCredential=NAME:…".to_owned()),
            });
        }
        let Some(directory) = &self.credentials else {
            // Root's check, outside of the service: the file that systemd would hand over.
            let folder = self.base.join(PACKAGED_FOLDER);
            if folder.is_dir() {
                return Ok((folder.join(name), false));
            }
            return Err(Refusal {
                code: "bad-credential",
                message: "there are no systemd credentials here: CREDENTIALS_DIRECTORY is not set".to_owned(),
                hint: Some(format!("add LoadCredential={name}:PATH to the unit, or give a path")),
            });
        };
        let packaged = directory.join(format!("{PACKAGED_PREFIX}{name}"));
        let path = if packaged.exists() { packaged } else { directory.join(name) };
        if path.exists() {
            return Ok((path, true));
        }
        let folder = self.base.join(PACKAGED_FOLDER);
        Err(Refusal {
            code: "bad-credential",
            message: "systemd handed over no credential of this name".to_owned(),
            hint: Some(format!(
                "put it into {} and restart the service: credentials are handed over at its start",
                folder.display()
            )),
        })
    }

    /// Reads a file that is no secret.
    pub(crate) fn read(&mut self, written: &str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let octets = read_file(&self.path(written)?.0, false, self)?;
        self.digests.push(sha256(&[&octets]));
        Ok(octets)
    }

    /// Reads a secret, after looking at who else may.
    pub(crate) fn read_secret(&mut self, written: &str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let (path, guarded) = self.path(written)?;
        let octets = read_file(&path, !guarded, self)?;
        self.digests.push(sha256(&[&octets]));
        Ok(octets)
    }

    /// The hash of a text and of every file read since the last call: two are equal if nothing changed.
    pub(crate) fn fingerprint(&mut self, text: &str) -> Fingerprint {
        let digests = std::mem::take(&mut self.digests);
        let mut parts: Vec<&[u8]> = vec![text.as_bytes()];
        parts.extend(digests.iter().map(<[u8; 32]>::as_slice));
        Fingerprint(sha256(&parts))
    }

    /// Reads a pre-shared key: the file's text without its last line end; `0x…` is hexadecimal, `0s…` base64.
    pub(crate) fn read_psk(&mut self, written: &str) -> Result<Secret, Refusal> {
        let octets = self.read_secret(written)?;
        let mut text: &[u8] = &octets;
        text = text.strip_suffix(b"\n").unwrap_or(text);
        text = text.strip_suffix(b"\r").unwrap_or(text);
        let refuse = |code, message: &str, hint: &str| {
            Err(Refusal { code, message: message.to_owned(), hint: Some(hint.to_owned()) })
        };
        if text.is_empty() {
            return refuse("empty-secret", "the file is empty", "make a key with `skybridge genkey psk`");
        }
        if text.contains(&b'\n') {
            return refuse("bad-secret", "the file has more than one line", "put the key alone on one line");
        }
        let decoded = if let Some(hex) = text.strip_prefix(b"0x") {
            decode_hex(hex)
        } else if let Some(base64) = text.strip_prefix(b"0s") {
            decode_base64(base64)
        } else {
            return Ok(Secret::from_slice(text));
        };
        match decoded {
            Some(key) if !key.is_empty() => Ok(Secret::from_slice(&key)),
            _ => refuse(
                "bad-secret",
                "the key begins like an encoded one and is not",
                "behind 0x come hexadecimal digits, behind 0s base64",
            ),
        }
    }
}

/// Reads a file; `judged` says that it is a secret which others must not be able to read. What systemd hands over is
/// not: its folder is the service's alone, and its access list looks like a group's right to read.
fn read_file(path: &Path, judged: bool, vault: &Vault) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let shown = if super::diagnostic::looks_like_path(&path.to_string_lossy()) {
        format!("`{}`", path.display())
    } else {
        "the file".to_owned()
    };
    let unreadable = |error: &std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "make it, or correct the path".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "run as root, or let the service's group read it".to_owned()
            }
            _ => "check the path".to_owned(),
        };
        let what = match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            std::io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Refusal { code: "unreadable-file", message: format!("{shown} {what}"), hint: Some(hint) }
    };
    let meta = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !meta.is_file() {
        return Err(Refusal {
            code: "unreadable-file",
            message: format!("{shown} is not a regular file"),
            hint: Some("give the path of a file".to_owned()),
        });
    }
    if judged {
        check_mode(&meta, path, &shown, vault)?;
    }
    if meta.len() > MOST_OCTETS * if judged { 1 } else { 16 } {
        return Err(Refusal {
            code: "unreadable-file",
            message: format!("{shown} is too large ({} octets)", meta.len()),
            hint: None,
        });
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1));
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    file.take(MOST_OCTETS * 16).read_to_end(&mut octets).map_err(|error| unreadable(&error))?;
    Ok(octets)
}

fn check_mode(meta: &std::fs::Metadata, path: &Path, shown: &str, vault: &Vault) -> Result<(), Refusal> {
    let own_group =
        meta.gid() == getegid().as_raw() || vault.service.is_some_and(|(_, gid)| gid == meta.gid());
    let own_user = meta.uid() == 0
        || meta.uid() == geteuid().as_raw()
        || vault.service.is_some_and(|(uid, _)| uid == meta.uid());
    let allowed = if own_group { 0o640 } else { 0o600 };
    let mode = meta.mode() & 0o777;
    if mode & 0o077 & !allowed != 0 {
        let who = if mode & 0o007 != 0 { "everybody" } else { "a group" };
        let may = if mode & 0o022 != 0 { "may be changed by" } else { "may be read by" };
        return Err(Refusal {
            code: "open-secret",
            message: format!("{shown} holds a secret and {may} {who} (mode {mode:04o})"),
            hint: Some(format!("run: chmod {:04o} {}", mode & allowed & 0o640 | 0o400, path.display())),
        });
    }
    if !own_user {
        return Err(Refusal {
            code: "open-secret",
            message: format!("{shown} holds a secret and belongs to another user (uid {})", meta.uid()),
            hint: Some(format!("run: chown root {}", path.display())),
        });
    }
    Ok(())
}

fn decode_hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |octet: u8| (octet as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let octets = text.chunks_exact(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    octets.collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

fn decode_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut held) = (0u32, 0u32);
    let padding = text.iter().rev().take_while(|octet| **octet == b'=').count();
    let body = text.get(..text.len() - padding)?;
    if padding > 2 || body.len() % 4 == 1 {
        return None;
    }
    for octet in body {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys_decode() {
        assert_eq!(decode_hex(b"00fFa0").unwrap().as_slice(), [0, 255, 160]);
        assert!(decode_hex(b"0").is_none() && decode_hex(b"zz").is_none());
        assert_eq!(decode_base64(b"Zm9vYmFy").unwrap().as_slice(), b"foobar");
        assert_eq!(decode_base64(b"Zm9vYg==").unwrap().as_slice(), b"foob");
        assert!(decode_base64(b"Zm9v!").is_none() && decode_base64(b"Z").is_none());
    }
}
