//! File operations that do not depend on the content: [`lock`] (one holder at a time), `private_folder` (only this user
//! has access), `replace` (atomic replacement).

pub mod lock;
pub(crate) mod private_folder;
pub(crate) mod replace;
