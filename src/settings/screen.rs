//! How a page can be shown to the user.

use crate::login::{browser::SystemBrowser, portal::Desktop};

/// How a page can be shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    /// In a browser on this machine.
    Browser(SystemBrowser),
    /// As a URL in the terminal, to be opened elsewhere: finmcp runs on a remote machine or in a container.
    Terminal,
    /// Not at all, for this reason.
    Unavailable(&'static str),
}

/// What determines how to show the user a page.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `CI`, which build servers set.
    pub(super) is_ci: bool,
    /// `FINMCP_BROWSER`, else `BROWSER`.
    pub(super) browser: Option<SystemBrowser>,
    pub(super) has_display: bool,
    pub(super) has_terminal: bool,
    /// A user connected by SSH does not see this machine's screen.
    pub(super) is_remote: bool,
}

impl Surroundings {
    /// The browser that the user chose with a variable.
    pub fn browser(&self) -> Option<&SystemBrowser> {
        self.browser.as_ref()
    }

    /// How to show the user a page. If no variable says, looks for a desktop. That can take seconds, so call this only
    /// when there is a page to show.
    pub async fn screen(&self) -> Screen {
        match self.named() {
            screen @ Screen::Browser(_) => screen,
            screen if self.is_ci || self.is_remote => screen,
            screen => Desktop::find().await.map_or(screen, |desktop| Screen::Browser(SystemBrowser::Desktop(desktop))),
        }
    }

    /// How to show a page, by the variables alone.
    fn named(&self) -> Screen {
        match self {
            Self { is_ci: true, .. } => Screen::Unavailable("CI is set"),
            Self { browser: Some(browser), .. } => Screen::Browser(browser.clone()),
            Self { has_display: true, .. } => Screen::Browser(SystemBrowser::Default),
            Self { has_terminal: true, .. } => Screen::Terminal,
            _ => Screen::Unavailable("there is no terminal, no display, and no FINMCP_BROWSER"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When to open a browser, when to print the URL, and when to do neither.
    #[test]
    fn how_a_page_is_shown() {
        let program = || SystemBrowser::Program("b".into());
        let screen = |is_ci, browser: Option<SystemBrowser>, has_display, has_terminal| {
            Surroundings { is_ci, browser, has_display, has_terminal, is_remote: false }.named()
        };
        for has_terminal in [true, false] {
            assert_eq!(screen(false, Some(program()), false, has_terminal), Screen::Browser(program()));
            assert_eq!(screen(false, Some(program()), true, has_terminal), Screen::Browser(program()));
            assert_eq!(screen(false, None, true, has_terminal), Screen::Browser(SystemBrowser::Default));
            for browser in [Some(program()), None] {
                assert_eq!(screen(true, browser, has_terminal, has_terminal), Screen::Unavailable("CI is set"));
            }
        }
        assert_eq!(screen(false, None, false, true), Screen::Terminal);
        assert!(matches!(screen(false, None, false, false), Screen::Unavailable(_)));
    }
}
