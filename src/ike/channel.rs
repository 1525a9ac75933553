//! The encrypted channel of an IKE SA: seals and opens messages, fragments and reassembles them, and
//! keeps the message window. It does not know what the messages mean.

use std::time::Instant;

use crate::crypto::{CipherKey, CryptoError, IkeKeys, IkeSuite, Random};
use crate::wire::ike::registry::{ExchangeType, PayloadType};
use crate::wire::ike::{
    EncryptedBody, Flags, Header, IkeSpi, Message, Payload, SealLayout, Sealable, encode_chain, strip_padding,
};

use super::fragment::{Fragment, MAX_FRAGMENTS, Outcome, Reassembly};
use super::window::Window;

/// IPv6 header, UDP header and non-ESP marker: what goes around an IKE message at most.
const OUTER_OVERHEAD: usize = 40 + 8 + 4;
/// IKE header, SKF generic header and fragment numbers.
const FRAGMENT_HEADERS: usize = 28 + 4 + 4;

/// How a message is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Never.
    Whole,
    /// Where the outer packet would be larger, and the peer understands fragments.
    At(u16),
    /// Into fragments whatever its size.
    Fragments(u16),
}

/// Why an encrypted message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// No SK or SKF payload where one must be, or too short.
    Malformed,
    /// The ICV does not match.
    Integrity,
}

/// What an authentic message held.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A whole chain.
    Whole(PayloadType, Vec<u8>),
    /// One fragment.
    Fragment(Fragment),
}

/// Both directions' keys and the state that goes with them.
pub(crate) struct Channel {
    initiator_spi: IkeSpi,
    responder_spi: IkeSpi,
    initiator: bool,
    seal: CipherKey,
    open: CipherKey,
    counter: u64,
    /// Message IDs, the request under way, the last response.
    pub(crate) window: Window,
    /// Whether both ends understand [RFC 7383](https://www.rfc-editor.org/rfc/rfc7383).
    pub(crate) fragmentation: bool,
    /// Whether the peer takes fragments in every exchange for certain: it is one of us.
    pub(crate) kin: bool,
    requests: Reassembly,
    responses: Reassembly,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({} {})", self.initiator_spi, self.responder_spi)
    }
}

impl Channel {
    pub(crate) fn new(
        suite: &IkeSuite,
        keys: &IkeKeys,
        spis: (IkeSpi, IkeSpi),
        initiator: bool,
        window: Window,
    ) -> Result<Self, CryptoError> {
        let (i, r) = (keys.initiator_cipher(suite)?, keys.responder_cipher(suite)?);
        let (seal, open) = if initiator { (i, r) } else { (r, i) };
        Ok(Self {
            initiator_spi: spis.0,
            responder_spi: spis.1,
            initiator,
            seal,
            open,
            counter: 0,
            window,
            fragmentation: false,
            kin: false,
            requests: Reassembly::default(),
            responses: Reassembly::default(),
        })
    }

    /// Builds the datagrams of one message.
    pub(crate) fn encode(
        &mut self,
        exchange: ExchangeType,
        id: u32,
        response: bool,
        payloads: &[Payload],
        cut: Cut,
        random: &mut dyn Random,
    ) -> Result<Vec<Vec<u8>>, CryptoError> {
        let flags = Flags { initiator: self.initiator, version: false, response };
        let header = Header::new(self.initiator_spi, self.responder_spi, exchange, flags, id);
        let (first, plaintext) = encode_chain(payloads);
        let whole_len = 28 + 4 + self.layout().sealed_len(plaintext.len());
        let limit = match cut {
            Cut::At(size) if self.fragmentation && whole_len + OUTER_OVERHEAD > usize::from(size) => size,
            Cut::Fragments(size) if self.fragmentation => size,
            _ => return Ok(vec![self.seal_one(&header, first, &plaintext, None, random)?]),
        };
        let layout = self.layout();
        let around = OUTER_OVERHEAD + FRAGMENT_HEADERS + layout.iv_len + layout.icv_len + layout.block_len;
        let most = usize::from(limit).saturating_sub(around).max(64);
        let most = most.max(plaintext.len().div_ceil(usize::from(MAX_FRAGMENTS)));
        let chunks: Vec<&[u8]> = plaintext.chunks(most).collect();
        let total = u16::try_from(chunks.len()).unwrap_or(u16::MAX);
        (1..)
            .zip(chunks)
            .map(|(number, chunk)| self.seal_one(&header, first, chunk, Some((number, total)), random))
            .collect()
    }

    pub(crate) fn layout(&self) -> SealLayout {
        SealLayout {
            iv_len: self.seal.iv_len(),
            icv_len: self.seal.icv_len(),
            block_len: self.seal.block_len(),
        }
    }

    fn seal_one(
        &mut self,
        header: &Header,
        first: PayloadType,
        plaintext: &[u8],
        fragment: Option<(u16, u16)>,
        random: &mut dyn Random,
    ) -> Result<Vec<u8>, CryptoError> {
        let layout = self.layout();
        let mut message = Sealable::new(header, &[], first, plaintext, fragment, layout);
        let parts = message.parts();
        if self.seal.cipher().is_aead() {
            self.counter += 1;
            parts.iv.copy_from_slice(&self.counter.to_be_bytes());
        } else {
            random.fill(parts.iv);
        }
        self.seal.seal(parts.iv, parts.aad, &[], parts.data, parts.icv)?;
        Ok(message.into_octets())
    }

    /// Checks and decrypts a message. Payloads in clear beside SK or SKF are not trusted and dropped.
    pub(crate) fn open(&self, octets: &[u8], message: Message) -> Result<Opened, OpenError> {
        let (fragment, mut body) = match message.payloads.into_iter().next_back() {
            Some(Payload::Encrypted(body)) => (None, body),
            Some(Payload::EncryptedFragment { number, total, body }) if self.fragmentation => {
                (Some((number, total)), body)
            }
            _ => return Err(OpenError::Malformed),
        };
        let plaintext = self.decrypt(octets, &mut body)?;
        Ok(match fragment {
            None => Opened::Whole(body.next_payload, plaintext),
            Some((number, total)) => {
                Opened::Fragment(Fragment { number, total, first: body.next_payload, plaintext })
            }
        })
    }

    fn decrypt(&self, octets: &[u8], body: &mut EncryptedBody) -> Result<Vec<u8>, OpenError> {
        let aad = octets.get(..body.body_offset).ok_or(OpenError::Malformed)?;
        let parts =
            body.split_mut(self.open.iv_len(), self.open.icv_len()).map_err(|_| OpenError::Malformed)?;
        self.open.open(parts.iv, aad, &[], parts.data, parts.icv).map_err(|error| match error {
            CryptoError::Integrity => OpenError::Integrity,
            _ => OpenError::Malformed,
        })?;
        strip_padding(parts.data).map(<[u8]>::to_vec).map_err(|_| OpenError::Malformed)
    }

    /// Adds a fragment of a request or response to those before.
    pub(crate) fn reassemble(
        &mut self,
        now: Instant,
        response: bool,
        id: u32,
        fragment: Fragment,
    ) -> Outcome {
        let side = if response { &mut self.responses } else { &mut self.requests };
        side.insert(now, id, fragment)
    }

    /// Forgets fragments that belong to a finished message or have waited too long.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.requests.expire(now);
        self.responses.expire(now);
    }

    /// Forgets incomplete requests: one came whole.
    pub(crate) fn drop_fragments(&mut self, response: bool) {
        if response { self.responses.clear() } else { self.requests.clear() }
    }

    /// Fragments that wait for others.
    pub(crate) fn pending_fragments(&self) -> usize {
        self.requests.pending() + self.responses.pending()
    }

    pub(crate) fn initiator_spi(&self) -> IkeSpi {
        self.initiator_spi
    }

    pub(crate) fn responder_spi(&self) -> IkeSpi {
        self.responder_spi
    }
}
