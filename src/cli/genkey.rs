//! `skybridge genkey`: a pre-shared key, or a small CA with endpoint certificates and a CRL.
//!
//! Keys are written with mode 0600 and never over an existing file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::output::{answer, failed};
use crate::crypto::SystemRandom;
use crate::pki::Identity;
use crate::pki::issue::{Ca, NewKey, Revocation, create_ca, random_psk, read_crl};

/// Arguments of `skybridge genkey`.
#[derive(Debug, Args)]
pub(super) struct GenkeyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A random pre-shared key of 256 bits, on standard output or into a file
    Psk {
        /// Write it here with mode 0600 instead
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// A CA: ca.pem and ca.key in a folder
    Ca {
        /// Its name, as "Example VPN CA" or "C=CH, O=Example, CN=VPN CA"
        #[arg(long)]
        name: String,
        /// The folder, made if it does not exist
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        #[command(flatten)]
        kind: KeyKind,
        /// Days of validity
        #[arg(long, default_value_t = 3650)]
        days: u32,
    },
    /// An endpoint's key and certificate: NAME.pem and NAME.key
    Endpoint {
        /// Folder of the CA
        #[arg(long, value_name = "FOLDER")]
        ca: PathBuf,
        /// An identity the certificate proves: a DNS name, an address, a mail address; the first one names it
        #[arg(long = "id", value_name = "IDENTITY", required = true)]
        ids: Vec<String>,
        /// Path of the two files without their endings
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
        #[command(flatten)]
        kind: KeyKind,
        /// Days of validity
        #[arg(long, default_value_t = 397)]
        days: u32,
    },
    /// A new certificate for an endpoint's present key and names, in the place of the old one
    Renew {
        /// Folder of the CA
        #[arg(long, value_name = "FOLDER")]
        ca: PathBuf,
        /// The certificate to renew
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Days of validity
        #[arg(long, default_value_t = 397)]
        days: u32,
    },
    /// Revoke certificates: writes crl.pem in the CA's folder; without any, only renews it
    Revoke {
        /// Folder of the CA
        #[arg(long, value_name = "FOLDER")]
        ca: PathBuf,
        /// The certificates to revoke
        certificates: Vec<PathBuf>,
        /// Days until the CRL must have been renewed
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
}

/// The kind of key to make.
#[derive(Debug, Args)]
struct KeyKind {
    /// ecdsa-p256, ecdsa-p384 or ed25519
    #[arg(long = "key-type", value_name = "TYPE", default_value_t = NewKey::default())]
    key_type: NewKey,
}

pub(super) fn genkey(args: GenkeyArgs) -> ExitCode {
    match make(args.what) {
        Ok(text) => answer(&text),
        Err(error) => failed(error),
    }
}

type Failure = Box<dyn std::error::Error>;

fn make(what: What) -> Result<String, Failure> {
    let mut random = SystemRandom::new()?;
    let now = unix_now();
    match what {
        What::Psk { out: None } => Ok(random_psk(&mut random).to_string()),
        What::Psk { out: Some(path) } => {
            write_secret(&path, &format!("{}\n", *random_psk(&mut random)))?;
            Ok(format!("wrote {}", path.display()))
        }
        What::Ca { name, out, kind, days } => {
            fs::create_dir_all(&out).map_err(|e| format!("cannot make {}: {e}", out.display()))?;
            let issued = create_ca(&name, kind.key_type, days, now, &mut random)
                .map_err(|error| format!("CA \"{name}\": {error}"))?;
            absent(&out.join("ca.pem"))?;
            write_secret(&out.join("ca.key"), &issued.key)?;
            write_new(&out.join("ca.pem"), &issued.certificate, 0o644)?;
            Ok(format!(
                "wrote {0}/ca.pem and {0}/ca.key; give ca.pem to every endpoint and keep ca.key off them",
                out.display()
            ))
        }
        What::Endpoint { ca, ids, out, kind, days } => {
            let ids = ids
                .iter()
                .map(|id| Identity::parse(id).map_err(|error| format!("--id \"{id}\": {error}")))
                .collect::<Result<Vec<_>, _>>()?;
            let issued = load_ca(&ca)?.issue_endpoint(&ids, kind.key_type, days, now, &mut random)?;
            let (certificate, key) = (with_ending(&out, "pem"), with_ending(&out, "key"));
            absent(&certificate)?;
            write_secret(&key, &issued.key)?;
            write_new(&certificate, &issued.certificate, 0o644)?;
            Ok(format!("wrote {} and {}", certificate.display(), key.display()))
        }
        What::Renew { ca, certificate, key, days } => {
            let renewed = load_ca(&ca)?
                .renew_endpoint(&read(&certificate)?, &read(&key)?, days, now, &mut random)
                .map_err(|error| format!("{}: {error}", certificate.display()))?;
            replace(&certificate, &renewed)?;
            Ok(format!("renewed {}; `skybridge reload` picks it up", certificate.display()))
        }
        What::Revoke { ca, certificates, days } => {
            let path = ca.join("crl.pem");
            let (mut entries, number) = if path.exists() {
                read_crl(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?
            } else {
                (Vec::new(), 0)
            };
            for file in &certificates {
                let entry = Revocation::of(&read(file)?, now)
                    .map_err(|error| format!("{}: {error}", file.display()))?;
                if !entries.iter().any(|old| old.serial == entry.serial) {
                    entries.push(entry);
                }
            }
            let crl = load_ca(&ca)?.write_crl(&entries, number + 1, days, now)?;
            replace(&path, &crl)?;
            Ok(format!(
                "wrote {} with {} revoked; give it to every endpoint and renew it within {days} days",
                path.display(),
                entries.len()
            ))
        }
    }
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

fn load_ca(folder: &Path) -> Result<Ca, Failure> {
    let ca = Ca::load(&read(&folder.join("ca.pem"))?, &read(&folder.join("ca.key"))?);
    ca.map_err(|error| format!("the CA in {}: {error}", folder.display()).into())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{} does not exist", path.display()).into(),
        std::io::ErrorKind::InvalidData => format!("{} is no PEM file", path.display()).into(),
        _ => format!("cannot read {}: {error}", path.display()).into(),
    })
}

/// Fails where a file exists that must not be overwritten.
fn absent(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(format!("{} exists and is not overwritten: move it away first", path.display()).into()),
        Err(_) => Ok(()),
    }
}

/// `path` with `.ending` added, whatever dots its name has.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    write_new(path, text, 0o600)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{} exists and is not overwritten: move it away first", path.display()).into()
        }
        std::io::ErrorKind::NotFound => {
            format!("cannot write {}: its folder does not exist", path.display()).into()
        }
        _ => format!("cannot write {}: {error}", path.display()).into(),
    })
}

/// Writes beside `path` and renames over it, so that a reader never sees half a file.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = with_ending(path, "new");
    let _ = fs::remove_file(&beside);
    write_new(&beside, text, 0o644)?;
    fs::rename(&beside, path).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_for_its_owner_alone_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("office.psk");
        make(What::Psk { out: Some(path.clone()) }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read_to_string(&path).unwrap();
        let refused = make(What::Psk { out: Some(path.clone()) }).unwrap_err().to_string();
        assert!(refused.contains("is not overwritten"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn a_ca_issues_renews_and_revokes() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        let kind = || KeyKind { key_type: NewKey::default() };
        make(What::Ca { name: "Test CA".to_owned(), out: ca.clone(), kind: kind(), days: 10 }).unwrap();
        let out = folder.path().join("office.example.com");
        let ids = vec!["office.example.com".to_owned()];
        make(What::Endpoint { ca: ca.clone(), ids, out, kind: kind(), days: 5 }).unwrap();
        let certificate = folder.path().join("office.example.com.pem");
        let key = folder.path().join("office.example.com.key");
        let first = fs::read_to_string(&certificate).unwrap();
        make(What::Renew { ca: ca.clone(), certificate: certificate.clone(), key, days: 6 }).unwrap();
        let second = fs::read_to_string(&certificate).unwrap();
        assert_ne!(first, second);
        for _ in 0..2 {
            make(What::Revoke { ca: ca.clone(), certificates: vec![certificate.clone()], days: 3 }).unwrap();
        }
        let (entries, number) = read_crl(&fs::read_to_string(ca.join("crl.pem")).unwrap()).unwrap();
        assert_eq!((entries.len(), number), (1, 2));
    }
}
