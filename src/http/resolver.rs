//! Name resolution that leads nowhere but where a URL may.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::server_url::reach::{Reach, Zone};

/// What a name resolves to, less the addresses out of reach. A connection goes to what this hands out and to nothing
/// else, so a name cannot mean one thing when it is checked and another when it is called (DNS rebinding).
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    reach: Reach,
    lookup: Lookup,
}

/// Finds the addresses of a name.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

/// Asks the system.
pub(super) fn system(name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    // The port is of no importance here.
    async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) }.boxed()
}

/// A name with no address within reach.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutOfReach(pub(super) Zone);

impl Resolver {
    pub(super) fn new(reach: Reach, lookup: Lookup) -> Self {
        Self { reach, lookup }
    }

    /// The addresses within reach. The URL's own port takes the place of 0.
    fn filter(self, addresses: Vec<IpAddr>) -> Result<Addrs, OutOfReach> {
        let zoned = addresses.into_iter().map(|address| (Zone::of(address), address));
        let (within, beyond): (Vec<_>, Vec<_>) = zoned.partition(|(zone, _)| self.reach.permits(*zone));
        match beyond.first() {
            Some((zone, _)) if within.is_empty() => Err(OutOfReach(*zone)),
            _ => Ok(Box::new(within.into_iter().map(|(_, address)| SocketAddr::new(address, 0)))),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = *self;
        async move {
            let addresses = (resolver.lookup)(name.as_str().to_owned()).await?;
            resolver.filter(addresses).map_err(|error| io::Error::other(error).into())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(reach: Reach, addresses: &[&str]) -> Result<Vec<String>, Zone> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let found = Resolver::new(reach, system).filter(addresses);
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
        // Where a person names it, too.
        assert_eq!(filtered(Reach::ANYWHERE, &["169.254.169.254"]), Err(Zone::Special));
        assert_eq!(filtered(Reach::ANYWHERE, &["127.0.0.1", "10.0.0.9"]).unwrap(), ["127.0.0.1", "10.0.0.9"]);
        assert!(filtered(Reach::PUBLIC, &[]).unwrap().is_empty());
    }
}
