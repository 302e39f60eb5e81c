//! Name resolution that drops addresses outside a URL's reach.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::server_url::reach::{Reach, Zone};

/// Resolves a name and drops the addresses out of reach. Connections use only the addresses that it returns, so a name
/// cannot resolve differently between the check and the connection (DNS rebinding).
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    reach: Reach,
    lookup: Lookup,
}

pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

/// Looks a name up with the system's resolver.
pub(super) fn system(name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    // The port does not matter here.
    async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) }.boxed()
}

/// The name has no address within reach.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutOfReach(pub(super) Zone);

impl Resolver {
    pub(super) fn new(reach: Reach, lookup: Lookup) -> Self {
        Self { reach, lookup }
    }

    /// The addresses within reach. The client replaces port 0 with the URL's port.
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

    /// t005, t006: finmcp connects only to the addresses of a name that are within reach.
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
        // Even if the user configures the address.
        assert_eq!(filtered(Reach::ANYWHERE, &["169.254.169.254"]), Err(Zone::Special));
        assert_eq!(filtered(Reach::ANYWHERE, &["127.0.0.1", "10.0.0.9"]).unwrap(), ["127.0.0.1", "10.0.0.9"]);
        assert!(filtered(Reach::PUBLIC, &[]).unwrap().is_empty());
    }
}
