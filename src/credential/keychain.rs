//! x
use crate::credential::store::{CredentialStore, StoreError};
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;
/// x
pub struct Keychain;
impl Keychain {
    /// x
    pub fn new() -> Self {
        Self
    }
}
impl CredentialStore for Keychain {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
    fn save<'a>(&'a self, _: &'a str, _: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
    fn description(&self) -> String {
        String::new()
    }
}
