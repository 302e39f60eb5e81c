//! Entries larger than a keychain's slot: on Windows, a slot is limited to 2,560 bytes.
//!
//! The entry's own slot contains a manifest and the first part of the payload; other slots contain the rest. A save
//! writes the other parts under names that the current manifest does not use, and then replaces the manifest in one
//! write: before that the old entry is complete, and after it the new one. A reader that is overtaken by a save finds
//! a wrong checksum and starts again.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::credential::store::StoreError;

/// The size of a slot in the Windows Credential Manager (`CRED_MAX_CREDENTIAL_BLOB_SIZE`), in bytes.
const SLOT: usize = 2560;

/// Ten times more than any record has needed, and few enough to delete one by one.
const MOST_PARTS: usize = 64;

const MAGIC: [u8; 8] = *b"finmcpc1";
const MANIFEST: usize = MAGIC.len() + 8 + 2 + 32;

/// How often a reader that was overtaken starts again.
const ATTEMPTS: usize = 5;

/// Named slots for a few bytes each.
pub(super) trait Slots {
    /// The slot's bytes; none if it is empty.
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError>;
    /// Replaces the slot's bytes atomically.
    fn set(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// Empties the slot if it is not empty.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}

/// The list of an entry's parts.
struct Manifest {
    /// Incremented by every save; odd and even generations name their other parts differently.
    generation: u64,
    /// The number of other parts.
    count: usize,
    /// SHA-256 of the payload.
    checksum: [u8; 32],
    /// The payload's first part.
    first: Zeroizing<Vec<u8>>,
}

pub(super) fn load(slots: &impl Slots, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(slot) = slots.get(entry)? else { return Ok(None) };
        let manifest = Manifest::read(&slot)?;
        let mut payload = Zeroizing::new(Vec::with_capacity(SLOT * (1 + manifest.count)));
        payload.extend_from_slice(&manifest.first);
        for index in 0..manifest.count {
            // The checksum detects a missing part.
            if let Some(part) = slots.get(&part_name(entry, manifest.generation, index))? {
                payload.extend_from_slice(&part);
            }
        }
        if manifest.checksum == *Sha256::digest(payload.as_slice()) {
            return Ok(Some(payload));
        }
    }
    Err(StoreError::Corrupt("its parts do not match".to_owned()))
}

pub(super) fn save(slots: &impl Slots, entry: &str, payload: &[u8]) -> Result<(), StoreError> {
    let previous = match slots.get(entry)? {
        // A damaged entry is replaced.
        Some(slot) => Manifest::read(&slot).map_or(0, |manifest| manifest.generation),
        None => 0,
    };
    let generation = previous.wrapping_add(1);
    let (first, rest) = payload.split_at(payload.len().min(SLOT - MANIFEST));
    let count = rest.chunks(SLOT).len();
    if count > MOST_PARTS {
        return Err(StoreError::Failed(format!("the credential is too large ({} bytes)", payload.len())));
    }
    for (index, part) in rest.chunks(SLOT).enumerate() {
        slots.set(&part_name(entry, generation, index), part)?;
    }
    let manifest =
        Manifest { generation, count, checksum: Sha256::digest(payload).into(), first: Zeroizing::new(first.to_vec()) };
    slots.set(entry, &manifest.write())?;
    // The entry is saved; leftover parts of other generations do no harm.
    let _ = clear(slots, entry, generation, count).and_then(|()| clear(slots, entry, previous, 0));
    Ok(())
}

pub(super) fn delete(slots: &impl Slots, entry: &str) -> Result<(), StoreError> {
    slots.delete(entry)?;
    clear(slots, entry, 0, 0)?;
    clear(slots, entry, 1, 0)
}

/// Empties the slots of `generation` from `start` on, the last first: if this is interrupted, the remaining slots have
/// no gap and are found again.
fn clear(slots: &impl Slots, entry: &str, generation: u64, start: usize) -> Result<(), StoreError> {
    let mut end = start;
    while end < MOST_PARTS && slots.get(&part_name(entry, generation, end))?.is_some() {
        end += 1;
    }
    (start..end).rev().try_for_each(|index| slots.delete(&part_name(entry, generation, index)))
}

fn part_name(entry: &str, generation: u64, index: usize) -> String {
    format!("{entry}.{}.{index}", if generation.is_multiple_of(2) { "even" } else { "odd" })
}

impl Manifest {
    fn read(slot: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("its manifest is damaged".to_owned());
        let rest = slot.strip_prefix(&MAGIC).ok_or_else(corrupt)?;
        let (generation, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let (count, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let (checksum, first) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count > MOST_PARTS {
            return Err(corrupt());
        }
        Ok(Self {
            generation: u64::from_be_bytes(*generation),
            count,
            checksum: *checksum,
            first: Zeroizing::new(first.to_vec()),
        })
    }

    fn write(&self) -> Zeroizing<Vec<u8>> {
        let mut slot = Zeroizing::new(Vec::with_capacity(SLOT));
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&self.generation.to_be_bytes());
        slot.extend_from_slice(&u16::try_from(self.count).unwrap_or(u16::MAX).to_be_bytes());
        slot.extend_from_slice(&self.checksum);
        slot.extend_from_slice(&self.first);
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    /// Slots like those of Windows. They can fail from a certain write on, and another process's save can overtake a
    /// read.
    #[derive(Default)]
    struct Windows {
        slots: RefCell<BTreeMap<String, Vec<u8>>>,
        writes_left: RefCell<Option<usize>>,
        on_read: RefCell<Option<Overtake>>,
    }

    type Overtake = Box<dyn Fn(&Windows, &str)>;

    impl Windows {
        fn failing_after(&self, writes: usize) {
            *self.writes_left.borrow_mut() = Some(writes);
        }

        fn repaired(&self) {
            *self.writes_left.borrow_mut() = None;
        }

        fn write(&self) -> Result<(), StoreError> {
            match &mut *self.writes_left.borrow_mut() {
                Some(0) => Err(StoreError::Failed("fault".to_owned())),
                Some(left) => {
                    *left -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }

    impl Slots for Windows {
        fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
            let overtake = self.on_read.borrow_mut().take();
            if let Some(overtake) = overtake {
                overtake(self, name);
                self.on_read.borrow_mut().get_or_insert(overtake);
            }
            Ok(self.slots.borrow().get(name).cloned().map(Zeroizing::new))
        }

        fn set(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
            assert!(bytes.len() <= SLOT);
            self.write()?;
            self.slots.borrow_mut().insert(name.to_owned(), bytes.to_vec());
            Ok(())
        }

        fn delete(&self, name: &str) -> Result<(), StoreError> {
            self.write()?;
            self.slots.borrow_mut().remove(name);
            Ok(())
        }
    }

    fn payload(size: usize, seed: u8) -> Vec<u8> {
        (0..size).map(|index| (index % 251) as u8 ^ seed).collect()
    }

    fn loaded(windows: &Windows) -> Option<Vec<u8>> {
        load(windows, "entry").unwrap().map(|payload| payload.to_vec())
    }

    /// t084: payloads with sizes around every limit.
    #[test]
    fn t084_every_size_is_restored() {
        let first = SLOT - MANIFEST;
        let sizes =
            [0, 1, 1279, 1280, 1281, first - 1, first, first + 1, SLOT, SLOT + 1, first + SLOT, first + SLOT + 1];
        let windows = Windows::default();
        for (seed, size) in sizes.into_iter().chain([8 << 10, 32 << 10, 100 << 10]).rev().enumerate() {
            let payload = payload(size, seed as u8);
            save(&windows, "entry", &payload).unwrap();
            assert_eq!(loaded(&windows), Some(payload));
            let slots = 1 + size.saturating_sub(first).div_ceil(SLOT);
            assert_eq!(windows.slots.borrow().len(), slots, "{size}: leftover slots");
        }
        assert!(save(&windows, "entry", &payload(1 << 20, 0)).is_err());
        delete(&windows, "entry").unwrap();
        assert_eq!(loaded(&windows), None);
        assert!(windows.slots.borrow().is_empty());
    }

    /// t085: a save that is interrupted after any write leaves the old or the new entry, never a mixture, and the next
    /// save cleans up.
    #[test]
    fn t085_an_interrupted_save_leaves_the_old_or_new_entry() {
        for (old_size, new_size) in [(9000, 7000), (7000, 9000), (100, 9000), (9000, 100)] {
            let (old, new) = (payload(old_size, 1), payload(new_size, 2));
            for writes in 0.. {
                let windows = Windows::default();
                save(&windows, "entry", &payload(20_000, 0)).unwrap();
                save(&windows, "entry", &old).unwrap();
                windows.failing_after(writes);
                let saved = save(&windows, "entry", &new).is_ok();
                let untouched = windows.writes_left.borrow().is_some_and(|left| left > 0);
                windows.repaired();
                assert_eq!(loaded(&windows).as_ref(), Some(if saved { &new } else { &old }), "after {writes} writes");
                save(&windows, "entry", &old).unwrap();
                assert_eq!(loaded(&windows).as_ref(), Some(&old));
                save(&windows, "entry", b"small").unwrap();
                delete(&windows, "entry").unwrap();
                assert!(windows.slots.borrow().is_empty(), "after {writes} writes");
                if untouched {
                    break;
                }
            }
        }
    }

    /// t085: the next deletion completes an interrupted one, although the entry's own slot is already empty.
    #[test]
    fn t085_an_interrupted_deletion_can_be_repeated() {
        for writes in 0..4 {
            let windows = Windows::default();
            save(&windows, "entry", &payload(9000, 1)).unwrap();
            windows.failing_after(writes);
            assert!(delete(&windows, "entry").is_err());
            windows.repaired();
            assert_eq!(loaded(&windows).is_none(), writes > 0);
            delete(&windows, "entry").unwrap();
            assert!(windows.slots.borrow().is_empty());
        }
    }

    /// t085: if another process saves between the reads, the reader gets one of the payloads.
    #[test]
    fn t085_an_overtaken_reader_starts_again() {
        let windows = Windows::default();
        save(&windows, "entry", &payload(9000, 0)).unwrap();
        let saves = RefCell::new(0);
        *windows.on_read.borrow_mut() = Some(Box::new(move |windows, name| {
            if name != "entry" && *saves.borrow() < 4 {
                *saves.borrow_mut() += 1;
                save(windows, "entry", &payload(8000, *saves.borrow())).unwrap();
            }
        }));
        assert_eq!(loaded(&windows), Some(payload(8000, 4)));
    }

    #[test]
    fn t086_parts_that_do_not_match_are_corrupt() {
        let windows = Windows::default();
        save(&windows, "entry", &payload(9000, 1)).unwrap();
        let whole = windows.slots.borrow().clone();
        for name in whole.keys() {
            for position in [0, 1, 9, 20, 60] {
                let mut slots = whole.clone();
                slots.get_mut(name).unwrap()[position] ^= 1;
                *windows.slots.borrow_mut() = slots;
                // The generation only names the parts, and one bit of it chooses them.
                let outcome = load(&windows, "entry");
                assert!(
                    matches!(outcome, Err(StoreError::Corrupt(_))) || (name == "entry" && position == 9),
                    "{name} {position}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn t084_the_last_of_many_saves_is_restored(sizes in prop::collection::vec(0_usize..20_000, 1..8)) {
            let windows = Windows::default();
            for (seed, size) in sizes.into_iter().enumerate() {
                let payload = payload(size, seed as u8);
                save(&windows, "entry", &payload).unwrap();
                prop_assert_eq!(loaded(&windows), Some(payload));
            }
        }
    }
}
