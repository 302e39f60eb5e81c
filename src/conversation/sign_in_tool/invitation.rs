//! Where the user signs in, and who shows that page.

/// Where the user signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The address to open.
    pub address: String,
    /// The code to enter there, if there is one (RFC 8628 section 3.3).
    pub code: Option<String>,
    /// Whether a browser already shows it.
    pub window: Window,
}

/// A browser window on this computer that shows the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None.
    None,
    /// This process opened one.
    Opened,
    /// Another finmcp process opened one for the same sign-in.
    OpenedByAnother,
}

/// Who shows the sign-in page to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownBy {
    /// The client, by URL elicitation or in the result of the call.
    Client,
    /// A browser, if there is one.
    Browser,
}

impl Invitation {
    /// The instruction to enter the code; empty without a code.
    pub fn instruction(&self) -> String {
        self.code.as_ref().map(|code| format!("\n\nEnter the code {code} there.")).unwrap_or_default()
    }
}
