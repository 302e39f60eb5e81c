//! A store in memory, for `FINMCP_STORE=memory` and tests.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use zeroize::Zeroizing;

use crate::credential::store::{CredentialStore, StoreError};

/// A store in this process's memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<HashMap<String, Zeroizing<Vec<u8>>>>);

impl MemoryStore {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Zeroizing<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CredentialStore for MemoryStore {
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        async { Ok(self.entries().get(entry).cloned()) }.boxed()
    }

    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            self.entries().insert(entry.to_owned(), payload);
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            self.entries().remove(entry);
            Ok(())
        }
        .boxed()
    }

    fn description(&self) -> String {
        "this process's memory".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_come_back_until_they_are_deleted() {
        let store = MemoryStore::default();
        assert!(store.load("a").await.unwrap().is_none());
        store.save("a", Zeroizing::new(b"1".to_vec())).await.unwrap();
        store.save("a", Zeroizing::new(b"2".to_vec())).await.unwrap();
        store.save("b", Zeroizing::new(b"3".to_vec())).await.unwrap();
        assert_eq!(store.load("a").await.unwrap().unwrap().as_slice(), b"2");
        store.delete("a").await.unwrap();
        store.delete("a").await.unwrap();
        assert!(store.load("a").await.unwrap().is_none());
        assert_eq!(store.load("b").await.unwrap().unwrap().as_slice(), b"3");
    }
}
