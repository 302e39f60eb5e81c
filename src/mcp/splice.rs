//! Editing text in place. The unchanged parts of a 64 MiB message are moved within its buffer, not copied to a second
//! one.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A part of the edited text.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A byte range of the original. Ranges are in the same order in the original and the result.
    Kept(Range<usize>),
    New(String),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Kept(range) => range.len(),
            Self::New(text) => text.len(),
        }
    }
}

/// The pieces that concatenate to `parts`. A part that is a slice of `text` becomes [`Piece::Kept`].
pub fn pieces<'a>(text: &str, parts: impl Iterator<Item = &'a str>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut kept = 0;
    for part in parts.filter(|part| !part.is_empty()) {
        let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let is_kept = start >= kept && start < text.len() && part.len() <= text.len() - start;
        match (pieces.last_mut(), is_kept) {
            (Some(Piece::Kept(range)), true) if range.end == start => range.end += part.len(),
            (_, true) => pieces.push(Piece::Kept(start..start + part.len())),
            (Some(Piece::New(new)), false) => new.push_str(part),
            (_, false) => pieces.push(Piece::New(part.to_owned())),
        }
        if is_kept {
            kept = start + part.len();
        }
    }
    pieces
}

/// Rebuilds `text` from these pieces, in place if nothing else shares the memory.
pub fn splice(text: Bytes, pieces: &[Piece]) -> Bytes {
    match text.try_into_mut() {
        Ok(own) => in_place(own, pieces).freeze(),
        Err(shared) => {
            let mut changed = BytesMut::with_capacity(pieces.iter().map(Piece::len).sum());
            for piece in pieces {
                changed.extend_from_slice(match piece {
                    Piece::Kept(range) => &shared[range.clone()],
                    Piece::New(new) => new.as_bytes(),
                });
            }
            changed.freeze()
        }
    }
}

fn in_place(mut text: BytesMut, pieces: &[Piece]) -> BytesMut {
    let mut places = Vec::with_capacity(pieces.len());
    let mut length = 0;
    for piece in pieces {
        places.push(length);
        length += piece.len();
    }
    if length > text.len() {
        text.resize(length, 0);
    }
    // First move pieces towards the front, starting at the front; then move pieces towards the back, starting at the
    // back. So no piece is overwritten before it has moved.
    let kept = pieces.iter().zip(&places).filter_map(|(piece, place)| match piece {
        Piece::Kept(range) => Some((range, *place)),
        Piece::New(_) => None,
    });
    let kept: Vec<_> = kept.collect();
    for (range, place) in kept.iter().filter(|(range, place)| *place < range.start) {
        text.copy_within((*range).clone(), *place);
    }
    for (range, place) in kept.iter().rev().filter(|(range, place)| *place > range.start) {
        text.copy_within((*range).clone(), *place);
    }
    for (piece, place) in pieces.iter().zip(places) {
        if let Piece::New(new) = piece {
            text[place..place + new.len()].copy_from_slice(new.as_bytes());
        }
    }
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// a14: text that nothing else shares is edited in place.
    #[test]
    fn a14_unshared_text_is_edited_in_place() {
        let text = Bytes::from("x".repeat(1000));
        let place = text.as_ptr();
        let shorter = splice(text, &[Piece::New("[".to_owned()), Piece::Kept(10..500), Piece::New("]".to_owned())]);
        assert_eq!((shorter.len(), shorter.as_ptr()), (492, place));
        let other = shorter.clone();
        let copied = splice(shorter, &[Piece::Kept(1..2)]);
        assert_eq!((&copied[..], other.len()), (&b"x"[..], 492));
    }

    #[test]
    fn slices_of_the_text_are_kept_in_order() {
        let text = "abcdef";
        let parts = ["{", &text[1..2], &text[2..3], ",", "b", &text[4..6], &text[0..1], ""];
        let expected = [
            Piece::New("{".to_owned()),
            Piece::Kept(1..3),
            Piece::New(",b".to_owned()),
            Piece::Kept(4..6),
            Piece::New("a".to_owned()),
        ];
        assert_eq!(pieces(text, parts.into_iter()), expected);
    }

    proptest! {
        /// a14: editing in place gives the same result as copying, wherever the pieces move.
        #[test]
        fn a14_editing_in_place_equals_copying(
            text in "[a-z]{0,60}",
            cuts in prop::collection::vec((0usize..60, 0usize..20, "[A-Z]{0,12}"), 0..8)
        ) {
            let (mut pieces, mut from) = (Vec::new(), 0);
            for (skip, length, new) in cuts {
                let start = (from + skip % 7).min(text.len());
                let end = (start + length).min(text.len());
                pieces.extend([Piece::New(new), Piece::Kept(start..end)]);
                from = end;
            }
            let shared = Bytes::from(text);
            let held = shared.clone();
            let copied = splice(shared, &pieces);
            prop_assert_eq!(splice(Bytes::from(held.to_vec()), &pieces), copied);
        }
    }
}
