//! Half-open IKE SAs by what identifies a retransmitted IKE_SA_INIT request, counted over all and by address.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::ike::event::IkeSaId;
use crate::wire::ike::IkeSpi;

/// An initiator's SPI and its address.
type Request = (IkeSpi, SocketAddr);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HalfOpenTable {
    by_request: BTreeMap<Request, IkeSaId>,
    requests: BTreeMap<IkeSaId, Request>,
    by_address: BTreeMap<IpAddr, usize>,
}

impl HalfOpenTable {
    pub(super) fn len(&self) -> usize {
        self.by_request.len()
    }

    /// How many there are of one address.
    pub(super) fn of_address(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, spi: IkeSpi, remote: SocketAddr) -> Option<IkeSaId> {
        self.by_request.get(&(spi, remote)).copied()
    }

    pub(super) fn insert(&mut self, spi: IkeSpi, remote: SocketAddr, id: IkeSaId) {
        if let Some(before) = self.get(spi, remote) {
            self.remove(before);
        }
        self.remove(id);
        self.by_request.insert((spi, remote), id);
        self.requests.insert(id, (spi, remote));
        *self.by_address.entry(remote.ip()).or_default() += 1;
    }

    /// It is half-open no more; one that never was is none.
    pub(super) fn remove(&mut self, id: IkeSaId) {
        let Some(request) = self.requests.remove(&id) else { return };
        self.by_request.remove(&request);
        let address = request.1.ip();
        let left = self.of_address(address).saturating_sub(1);
        if left == 0 {
            self.by_address.remove(&address);
        } else {
            self.by_address.insert(address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_sas_are_counted_by_address_until_the_last_is_gone() {
        let mut table = HalfOpenTable::default();
        let (one, two): (SocketAddr, SocketAddr) =
            ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
        table.insert(IkeSpi([1; 8]), one, IkeSaId(1));
        table.insert(IkeSpi([2; 8]), one, IkeSaId(2));
        table.insert(IkeSpi([1; 8]), two, IkeSaId(3));
        assert_eq!((table.len(), table.of_address(one.ip()), table.of_address(two.ip())), (3, 2, 1));
        assert_eq!(table.get(IkeSpi([1; 8]), two), Some(IkeSaId(3)));
        table.remove(IkeSaId(1));
        table.remove(IkeSaId(1));
        assert_eq!((table.len(), table.of_address(one.ip()), table.get(IkeSpi([1; 8]), one)), (2, 1, None));
        table.remove(IkeSaId(2));
        table.remove(IkeSaId(3));
        assert_eq!((table.len(), table.by_address.len(), table.requests.len()), (0, 0, 0));
    }
}
