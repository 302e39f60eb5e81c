//! What is done with files, whatever is in them: [`lock`] for one holder at a time, `private_folder` for a place that is
//! this person's alone, `replace` for a file that changes in one step.

pub mod lock;
pub(crate) mod private_folder;
pub(crate) mod replace;
