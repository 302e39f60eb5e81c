//! The user of a sign-in.

use std::sync::Arc;

use crate::login::{
    browser::Browser,
    context::{Progress, Redirection},
};

/// How the user signs in, if the grant needs a user.
pub struct Person<'a> {
    /// Opens the sign-in page; none if the user opens it.
    pub browser: Option<Arc<dyn Browser>>,
    /// How the authorization response comes back.
    pub redirection: Redirection,
    /// Receives what happens.
    pub progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
}
