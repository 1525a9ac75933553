//! Stateless cookies ([RFC 7296 section 2.6](https://www.rfc-editor.org/rfc/rfc7296#section-2.6)):
//! bound to nonce, SPI and source address, made with a secret that rotates; the one before it still
//! counts, so that a rotation refuses nobody who is just on the way.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::crypto::prf::prf;
use crate::crypto::{Prf, Random, Secret};
use crate::wire::ike::IkeSpi;

/// Life of a secret.
const ROTATION: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Generation {
    version: u8,
    secret: Secret,
    made: Instant,
}

/// The two secrets that count.
#[derive(Debug, Default)]
pub(crate) struct CookieJar {
    current: Option<Generation>,
    previous: Option<Generation>,
}

impl CookieJar {
    /// The cookie that is demanded from this initiator now.
    pub(crate) fn bake(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        from: IpAddr,
        spi: IkeSpi,
        nonce: &[u8],
    ) -> Vec<u8> {
        self.rotate(now, random);
        self.current
            .as_ref()
            .map(|generation| generation.cookie(from, spi, nonce).expose().to_vec())
            .unwrap_or_default()
    }

    /// Whether we made this cookie for this initiator a short while ago.
    pub(crate) fn check(&self, now: Instant, from: IpAddr, spi: IkeSpi, nonce: &[u8], cookie: &[u8]) -> bool {
        let cookie = Secret::from_slice(cookie);
        [&self.current, &self.previous].into_iter().flatten().any(|generation| {
            now.saturating_duration_since(generation.made) < ROTATION * 2
                && generation.cookie(from, spi, nonce) == cookie
        })
    }

    fn rotate(&mut self, now: Instant, random: &mut dyn Random) {
        if self
            .current
            .as_ref()
            .is_some_and(|generation| now.saturating_duration_since(generation.made) < ROTATION)
        {
            return;
        }
        let mut secret = vec![0; 32];
        random.fill(&mut secret);
        let version = self.current.as_ref().map_or(0, |generation| generation.version.wrapping_add(1));
        self.previous = self.current.replace(Generation { version, secret: Secret::new(secret), made: now });
    }
}

impl Generation {
    fn cookie(&self, from: IpAddr, spi: IkeSpi, nonce: &[u8]) -> Secret {
        let address = match from.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mac = prf(Prf::HmacSha256, self.secret.expose(), &[&spi.0, &address, nonce]);
        Secret::new([&[self.version], mac.expose()].concat())
    }
}
