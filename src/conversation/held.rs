//! The client's messages that wait until they can be sent, in order.
//!
//! A request waits until it is sent or gets another response. Of the notifications only the latest are kept: a client
//! can send any number of them, and old ones are of no use to a server.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::mcp::{
    id::Id,
    message::{Kind, Message},
};

/// How many notifications are kept at most, and how many bytes of them; the last one may be longer.
const NOTICES_LIMIT: usize = 1000;
const NOTICES_BYTES: usize = 1 << 20;

/// The notification that completes a session's handshake: never dropped.
const INITIALIZED: &str = "notifications/initialized";

/// Of these notifications only the last one matters.
const ONLY_LAST: [&str; 1] = ["notifications/roots/list_changed"];

/// The waiting messages, each wrapped in a `T`.
#[derive(Debug)]
pub struct Held<T> {
    /// The messages, by their positions in the queue.
    queue: BTreeMap<u64, T>,
    next: u64,
    /// The positions of the requests, by id. If a client uses an id twice, both are kept.
    requests: HashMap<Id, Vec<u64>>,
    request_count: usize,
    /// The position of `notifications/initialized`.
    initialized: Option<u64>,
    /// The positions of the notifications that may be dropped.
    notices: BTreeSet<u64>,
    notice_bytes: usize,
    bytes: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            queue: BTreeMap::new(),
            next: 0,
            requests: HashMap::new(),
            request_count: 0,
            initialized: None,
            notices: BTreeSet::new(),
            notice_bytes: 0,
            bytes: 0,
        }
    }
}

impl<T: AsRef<Message>> Held<T> {
    /// Queues `item`. Drops the oldest notifications if there are too many.
    pub fn push(&mut self, item: T) {
        let place = self.next;
        let message = item.as_ref();
        match &message.kind {
            Kind::Request { id, .. } => {
                self.requests.entry(id.clone()).or_default().push(place);
                self.request_count += 1;
            }
            Kind::Notification { method } if &**method == INITIALIZED => {
                if self.initialized.is_some() {
                    return;
                }
                self.initialized = Some(place);
            }
            Kind::Notification { method } => {
                if ONLY_LAST.contains(&&**method) {
                    let method = method.clone();
                    let before = self.notices.iter().find(|place| self.has_method(**place, &method)).copied();
                    before.map(|place| self.remove(place));
                }
                self.notices.insert(place);
                self.notice_bytes += message.raw().len();
            }
            Kind::Response { .. } => {}
        }
        self.bytes += message.raw().len();
        self.next += 1;
        self.queue.insert(place, item);
        while (self.notices.len() > NOTICES_LIMIT || self.notice_bytes > NOTICES_BYTES) && self.notices.len() > 1 {
            let Some(oldest) = self.notices.first().copied() else { return };
            self.remove(oldest);
        }
    }

    /// Removes the first message.
    pub fn pop(&mut self) -> Option<T> {
        let place = *self.queue.first_key_value()?.0;
        self.remove(place)
    }

    /// Removes the requests with this id.
    pub fn remove_request(&mut self, id: &Id) {
        for place in self.requests.get(id).cloned().unwrap_or_default() {
            self.remove(place);
        }
    }

    /// Removes the requests that satisfy `wanted`.
    pub fn take_requests(&mut self, wanted: impl Fn(&Message) -> bool) -> Vec<T> {
        let is_wanted = |item: &T| matches!(item.as_ref().kind, Kind::Request { .. }) && wanted(item.as_ref());
        let places: Vec<u64> = self.queue.iter().filter(|(_, item)| is_wanted(item)).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Removes all messages, in order.
    pub fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(self).queue.into_values()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        self.queue.values().map(AsRef::as_ref)
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn request_count(&self) -> usize {
        self.request_count
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn has_method(&self, place: u64, method: &str) -> bool {
        self.queue.get(&place).is_some_and(|item| item.as_ref().method() == Some(method))
    }

    fn remove(&mut self, place: u64) -> Option<T> {
        let item = self.queue.remove(&place)?;
        let message = item.as_ref();
        self.initialized.take_if(|initialized| *initialized == place);
        self.bytes -= message.raw().len();
        if self.notices.remove(&place) {
            self.notice_bytes -= message.raw().len();
        }
        if let Kind::Request { id, .. } = &message.kind {
            self.request_count -= 1;
            if let Some(places) = self.requests.get_mut(id) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.requests.remove(id);
                }
            }
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn held(texts: &[String]) -> Held<Message> {
        let mut held = Held::default();
        texts.iter().for_each(|text| held.push(message(text)));
        held
    }

    fn methods(held: &mut Held<Message>) -> Vec<String> {
        std::iter::from_fn(|| held.pop()).map(|message| message.method().unwrap_or("-").to_owned()).collect()
    }

    fn notice(method: &str) -> String {
        format!(r#"{{"method":"{method}"}}"#)
    }

    fn request(id: usize, method: &str) -> String {
        format!(r#"{{"id":{id},"method":"{method}"}}"#)
    }

    /// a11: of many notifications the latest are kept, in order, and all other messages keep their positions.
    #[test]
    fn a11_only_the_latest_notifications_wait() {
        let initialized = notice(INITIALIZED);
        let mut texts = vec![request(1, "first"), notice("notifications/oldest"), initialized.clone()];
        texts.extend((0..3 * NOTICES_LIMIT).map(|number| notice(&format!("notifications/n{number}"))));
        texts.extend([request(2, "second"), initialized, r#"{"id":"q","result":{}}"#.to_owned()]);
        let mut held = held(&texts);
        assert_eq!((held.len(), held.request_count()), (NOTICES_LIMIT + 4, 2));
        let mut expected = vec!["first".to_owned(), INITIALIZED.to_owned()];
        expected.extend((2 * NOTICES_LIMIT..3 * NOTICES_LIMIT).map(|number| format!("notifications/n{number}")));
        expected.extend(["second".to_owned(), "-".to_owned()]);
        assert_eq!(methods(&mut held), expected);
        assert_eq!((held.bytes(), held.len(), held.notice_bytes), (0, 0, 0));
    }

    /// a11: the bytes of notifications are limited too; the last one is kept, however long it is.
    #[test]
    fn a11_long_notifications_are_bounded_in_bytes() {
        let long = |length: usize| format!(r#"{{"method":"notifications/x","params":"{}"}}"#, "x".repeat(length));
        let mut texts: Vec<String> = (0..64).map(|_| long(NOTICES_BYTES / 8)).collect();
        let few = held(&texts);
        assert!(few.len() < 8 && few.bytes() <= NOTICES_BYTES, "{} {}", few.len(), few.bytes());
        texts.push(long(2 * NOTICES_BYTES));
        assert_eq!(held(&texts).len(), 1);
    }

    /// a11: of the notifications that only announce a change, the last one is kept.
    #[test]
    fn a11_only_the_last_change_is_kept() {
        let changed = || notice("notifications/roots/list_changed");
        let mut held = held(&[changed(), request(1, "a"), changed(), notice("notifications/x"), changed()]);
        assert_eq!(methods(&mut held), ["a", "notifications/x", "notifications/roots/list_changed"]);
    }

    #[test]
    fn requests_are_removed_by_id() {
        let mut held = held(&[request(1, "a"), notice("n"), request(2, "b"), request(1, "c"), request(3, "b")]);
        let id = |text: &str| Id::from_json(text).unwrap();
        held.remove_request(&id("1"));
        held.remove_request(&id("9"));
        assert_eq!(held.take_requests(|message| message.id() == Some(&id("2"))).len(), 1);
        assert_eq!((held.request_count(), held.len()), (1, 2));
        assert_eq!(held.take().count(), 2);
        assert_eq!((held.request_count(), held.len(), held.bytes()), (0, 0, 0));
    }
}
