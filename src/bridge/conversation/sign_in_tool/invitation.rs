//! Where a person signs in, and who shows it to them.

/// Where a person signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The address to open.
    pub address: String,
    /// The code to enter there, where there is one (RFC 8628 section 3.3).
    pub code: Option<String>,
    /// Whether a browser shows it already.
    pub window: Window,
}

/// A browser on this machine that shows the page, besides what the client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None was opened.
    None,
    /// This process opened one.
    Opened,
    /// Another finmcp process has one open for the same sign-in.
    OpenedByAnother,
}

/// Who shows the page of a sign-in to the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownBy {
    /// The client: by URL elicitation, or in the result of the call.
    Client,
    /// A browser, where there is one.
    Browser,
}

impl Invitation {
    /// What to do there, besides signing in.
    pub fn instruction(&self) -> String {
        self.code.as_ref().map(|code| format!("\n\nEnter the code {code} there.")).unwrap_or_default()
    }
}
