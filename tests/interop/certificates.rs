//! Certificates for both ends: by the product's own small CA where it has the key type, by `openssl` for RSA and
//! chains.

use std::{fs, path::Path, process::Command, sync::OnceLock};

use skybridge::{
    crypto::SystemRandom,
    lab::LabError,
    pki::{
        Identity,
        issue::{Ca, NewKey, Revocation, create_ca},
    },
};

use crate::world::{SKY_ID, SWAN_ID};

const DAY: i64 = 86_400;
const FOLDER: &str = "/run/certificates-lab";

/// Which certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    /// RSA with two intermediate CAs, which only the owner of a certificate has.
    Chain,
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    /// strongSwan's certificate is over.
    Expired,
    /// strongSwan's certificate is on the CA's list.
    Revoked,
}

/// What both ends need.
#[derive(Debug)]
pub struct Certificates {
    pub ca: String,
    pub crl: Option<String>,
    pub intermediates: Vec<String>,
    pub sky: Pair,
    pub swan: Pair,
}

/// A certificate and its key, PEM.
#[derive(Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

static MADE: [OnceLock<Result<Certificates, String>>; 7] = [const { OnceLock::new() }; 7];

/// The certificates of a kind; made once.
pub fn certificates(kind: Kind) -> Result<&'static Certificates, LabError> {
    let made = MADE.get(kind as usize).ok_or_else(|| LabError::check("no such kind"))?;
    let made = made.get_or_init(|| make(kind).map_err(|error| error.to_string()));
    made.as_ref().map_err(|error| LabError::check(error.as_str()))
}

fn make(kind: Kind) -> Result<Certificates, Box<dyn std::error::Error>> {
    match kind {
        Kind::Rsa => openssl("rsa", 0),
        Kind::Chain => openssl("chain", 2),
        Kind::EcdsaP256 | Kind::Expired | Kind::Revoked => own(kind, NewKey::EcdsaP256),
        Kind::EcdsaP384 => own(kind, NewKey::EcdsaP384),
        Kind::Ed25519 => own(kind, NewKey::Ed25519),
    }
}

fn own(kind: Kind, key: NewKey) -> Result<Certificates, Box<dyn std::error::Error>> {
    let mut random = SystemRandom::new()?;
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())?;
    let past = now - 100 * DAY;
    let issued = create_ca("Interop CA", key, 3650, past, &mut random)?;
    let ca = Ca::load(&issued.certificate, &issued.key)?;
    let mut endpoint = |id: &str, since: i64| {
        let identity = Identity::parse(id)?;
        let issued = ca.issue_endpoint(&[identity], key, 40, since, &mut random)?;
        Ok::<_, Box<dyn std::error::Error>>(Pair {
            certificate: issued.certificate,
            key: issued.key.to_string(),
        })
    };
    let sky = endpoint(SKY_ID, now)?;
    let swan = endpoint(SWAN_ID, if kind == Kind::Expired { past } else { now })?;
    let crl = if kind == Kind::Revoked {
        Some(ca.write_crl(&[Revocation::of(&swan.certificate, now - DAY)?], 1, 30, now - DAY)?)
    } else {
        None
    };
    Ok(Certificates { ca: issued.certificate, crl, intermediates: Vec::new(), sky, swan })
}

fn openssl(name: &str, intermediates: usize) -> Result<Certificates, Box<dyn std::error::Error>> {
    let folder = Path::new(FOLDER).join(name);
    fs::create_dir_all(&folder)?;
    let run = |arguments: &str| -> Result<(), Box<dyn std::error::Error>> {
        let output =
            Command::new("openssl").args(arguments.split_whitespace()).current_dir(&folder).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr)).into())
    };
    let read = |file: String| fs::read_to_string(folder.join(file));
    run("req -x509 -newkey rsa:2048 -nodes -keyout ca0.key -out ca0.pem -days 30 -subj /CN=InteropRoot \
         -addext keyUsage=critical,keyCertSign,cRLSign")?;
    let sign = |subject: &str, by: usize, extensions: &str| -> Result<(), Box<dyn std::error::Error>> {
        fs::write(folder.join(format!("{subject}.ext")), extensions)?;
        run(&format!(
            "req -new -newkey rsa:2048 -nodes -keyout {subject}.key -out {subject}.csr -subj /CN={subject}"
        ))?;
        run(&format!(
            "x509 -req -in {subject}.csr -CA ca{by}.pem -CAkey ca{by}.key -CAcreateserial -days 20 -sha256 \
             -extfile {subject}.ext -out {subject}.pem"
        ))
    };
    for number in 1..=intermediates {
        sign(
            &format!("ca{number}"),
            number - 1,
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
        )?;
    }
    for id in [SKY_ID, SWAN_ID] {
        sign(
            id,
            intermediates,
            &format!(
                "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                 extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:{id}\n\
                 subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            ),
        )?;
    }
    let pair = |id: &str| -> std::io::Result<Pair> {
        Ok(Pair { certificate: read(format!("{id}.pem"))?, key: read(format!("{id}.key"))? })
    };
    Ok(Certificates {
        ca: read("ca0.pem".to_owned())?,
        crl: None,
        intermediates: (1..=intermediates)
            .rev()
            .map(|number| read(format!("ca{number}.pem")))
            .collect::<Result<_, _>>()?,
        sky: pair(SKY_ID)?,
        swan: pair(SWAN_ID)?,
    })
}
