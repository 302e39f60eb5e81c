//! Name resolution that leads nowhere but where a URL may.

use std::{io, net::SocketAddr};

use futures_util::FutureExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::server_url::reach::{Reach, Zone};

/// The system's resolver, less the addresses out of reach. A connection goes to what this hands out and to nothing
/// else, so a name cannot mean one thing when it is checked and another when it is called (DNS rebinding).
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    reach: Reach,
}

/// A name with no address within reach.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutOfReach(pub(super) Zone);

impl Resolver {
    pub(super) fn new(reach: Reach) -> Self {
        Self { reach }
    }

    /// The addresses within reach.
    fn filter(self, addresses: impl Iterator<Item = SocketAddr>) -> Result<Addrs, OutOfReach> {
        let zoned = addresses.map(|address| (Zone::of(address.ip()), address)).collect::<Vec<_>>();
        let (within, beyond): (Vec<_>, Vec<_>) = zoned.into_iter().partition(|(zone, _)| self.reach.permits(*zone));
        match beyond.first() {
            Some((zone, _)) if within.is_empty() => Err(OutOfReach(*zone)),
            _ => Ok(Box::new(within.into_iter().map(|(_, address)| address))),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = *self;
        async move {
            // Whatever the port: the URL's own is put in its place.
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            resolver.filter(addresses).map_err(|error| io::Error::other(error).into())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(reach: Reach, addresses: &[&str]) -> Result<Vec<String>, Zone> {
        let addresses = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0));
        let found = Resolver::new(reach).filter(addresses);
        found.map(|found| found.map(|address| address.ip().to_string()).collect()).map_err(|OutOfReach(zone)| zone)
    }

    /// t005, t006: a name that resolves to what may not be called is not called, or only at its other addresses.
    #[test]
    fn t006_addresses_out_of_reach_are_dropped() {
        for address in ["127.0.0.1", "::1", "10.0.0.9", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            assert!(filtered(Reach::PUBLIC, &[address]).is_err(), "{address}");
            assert_eq!(filtered(Reach::PUBLIC, &[address, "1.1.1.1"]).unwrap(), ["1.1.1.1"]);
        }
        let office = Reach::PUBLIC.and(Zone::Private);
        assert_eq!(filtered(office, &["10.0.0.9"]).unwrap(), ["10.0.0.9"]);
        assert_eq!(filtered(office, &["169.254.169.254"]), Err(Zone::Special));
        assert_eq!(filtered(Reach::LOOPBACK, &["1.1.1.1"]), Err(Zone::Public));
        assert!(filtered(Reach::PUBLIC, &[]).unwrap().is_empty());
    }
}
