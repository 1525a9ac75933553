//! Message IDs: one request under way in each direction
//! ([RFC 7296 section 2.3](https://www.rfc-editor.org/rfc/rfc7296#section-2.3)), retransmission of
//! identical octets, and the last response kept for a request that comes again.

use super::retransmit::Schedule;

/// A request of ours that has no response yet.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) id: u32,
    /// The datagrams, sent again octet by octet.
    pub(crate) packets: Vec<Vec<u8>>,
    pub(crate) schedule: Schedule,
    /// Whether `packets` must not be fragmented by IP.
    pub(crate) dont_fragment: bool,
    /// Smaller fragments of the same request that replace `packets` at the first retransmission
    /// ([RFC 7383 section 2.5.2](https://www.rfc-editor.org/rfc/rfc7383#section-2.5.2)).
    pub(crate) fallback: Option<Vec<Vec<u8>>>,
}

/// Where a request's message ID stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The next one.
    Fresh,
    /// The last one again.
    Repeat,
    /// Neither; never answered.
    Outside,
}

/// Both directions' message IDs of one IKE SA.
#[derive(Debug, Default)]
pub(crate) struct Window {
    next: u32,
    expected: u32,
    outbound: Option<Outbound>,
    response: Option<Vec<Vec<u8>>>,
}

impl Window {
    /// Counters after IKE_SA_INIT: the initiator's next request is 1, the responder expects 1.
    pub(crate) fn after_init(initiator: bool) -> Self {
        if initiator { Self { next: 1, ..Self::default() } } else { Self { expected: 1, ..Self::default() } }
    }

    /// The message ID of the next request.
    pub(crate) fn next_id(&self) -> u32 {
        self.next
    }

    /// Keeps a request that was built with [`Self::next_id`].
    pub(crate) fn sent(&mut self, outbound: Outbound) {
        self.next = outbound.id.saturating_add(1);
        self.outbound = Some(outbound);
    }

    pub(crate) fn outbound(&self) -> Option<&Outbound> {
        self.outbound.as_ref()
    }

    pub(crate) fn outbound_mut(&mut self) -> Option<&mut Outbound> {
        self.outbound.as_mut()
    }

    /// Whether a response with this ID is awaited.
    pub(crate) fn awaits(&self, id: u32) -> bool {
        self.outbound.as_ref().is_some_and(|outbound| outbound.id == id)
    }

    /// The awaited response has come, or nothing is awaited any more.
    pub(crate) fn settle(&mut self) -> Option<Outbound> {
        self.outbound.take()
    }

    pub(crate) fn classify(&self, id: u32) -> Slot {
        if id == self.expected && id != u32::MAX {
            Slot::Fresh
        } else if self.expected.checked_sub(1) == Some(id) && self.response.is_some() {
            Slot::Repeat
        } else {
            Slot::Outside
        }
    }

    /// The ID of the next request from the peer.
    pub(crate) fn expected(&self) -> u32 {
        self.expected
    }

    /// The expected request was answered with these datagrams; they replace the last response.
    pub(crate) fn answered(&mut self, packets: Vec<Vec<u8>>) {
        self.expected = self.expected.saturating_add(1);
        self.response = Some(packets);
    }

    /// The kept response.
    pub(crate) fn response(&self) -> Option<&[Vec<u8>]> {
        self.response.as_deref()
    }

    /// Only a Delete of the IKE SA may still be sent: message IDs never start again
    /// ([RFC 7296 section 2.2](https://www.rfc-editor.org/rfc/rfc7296#section-2.2)).
    pub(crate) fn spent(&self) -> bool {
        self.next >= u32::MAX - 1
    }

    /// The message IDs are nearly used up; the SA must be replaced before they are.
    pub(crate) fn exhausted(&self) -> bool {
        self.next >= u32::MAX - 16 || self.expected >= u32::MAX - 16
    }
}

#[cfg(test)]
impl Window {
    /// As if that many requests had gone each way.
    pub(crate) fn jump(&mut self, to: u32) {
        (self.next, self.expected) = (to, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_id_is_never_accepted_again_and_again() {
        let mut window = Window::default();
        window.jump(u32::MAX - 1);
        assert_eq!(window.classify(u32::MAX - 1), Slot::Fresh);
        window.answered(Vec::new());
        assert_eq!(window.classify(u32::MAX), Slot::Outside);
        assert_eq!(window.classify(u32::MAX - 1), Slot::Repeat);
    }

    #[test]
    fn only_the_next_and_the_last_request_are_answered() {
        let mut window = Window::after_init(false);
        assert_eq!(window.classify(0), Slot::Outside);
        assert_eq!(window.classify(1), Slot::Fresh);
        assert_eq!(window.classify(2), Slot::Outside);
        window.answered(vec![vec![1]]);
        assert_eq!(window.classify(1), Slot::Repeat);
        assert_eq!(window.classify(2), Slot::Fresh);
        assert_eq!(window.classify(0), Slot::Outside);
        assert_eq!(window.response(), Some(&[vec![1]][..]));
    }

    #[test]
    fn a_new_ike_sa_by_rekeying_counts_from_zero() {
        let window = Window::default();
        assert_eq!(window.next_id(), 0);
        assert_eq!(window.classify(0), Slot::Fresh);
        assert_eq!(window.classify(u32::MAX), Slot::Outside);
    }
}
