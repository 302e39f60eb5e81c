//! Whom a page can be shown to.

use crate::login::{browser::SystemBrowser, portal::Desktop};

/// Whom a page can be shown to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    /// Somebody before a browser that can be started.
    Browser(SystemBrowser),
    /// Somebody at a terminal, as on a machine far away or in a container: they open pages elsewhere.
    Terminal,
    /// Nobody, for this reason.
    Nobody(&'static str),
}

/// What tells whether somebody is there to see a page.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `CI`, which build machines set.
    pub(super) is_ci: bool,
    /// `FINMCP_BROWSER`, else `BROWSER`.
    pub(super) browser: Option<SystemBrowser>,
    pub(super) has_display: bool,
    pub(super) has_terminal: bool,
    /// Whoever comes by SSH sits before another screen than this machine's.
    pub(super) is_remote: bool,
}

impl Surroundings {
    /// Whom a page can be shown to. Where no variable tells, the desktop is looked for: that takes seconds where it does
    /// not answer, so it is asked for only when there is a page to show.
    pub async fn screen(&self) -> Screen {
        match self.named() {
            screen @ Screen::Browser(_) => screen,
            screen if self.is_ci || self.is_remote => screen,
            screen => Desktop::find().await.map_or(screen, |desktop| Screen::Browser(SystemBrowser::Desktop(desktop))),
        }
    }

    /// As the variables say.
    fn named(&self) -> Screen {
        match self {
            Self { is_ci: true, .. } => Screen::Nobody("CI is set"),
            Self { browser: Some(browser), .. } => Screen::Browser(browser.clone()),
            Self { has_display: true, .. } => Screen::Browser(SystemBrowser::Default),
            Self { has_terminal: true, .. } => Screen::Terminal,
            _ => Screen::Nobody("there is no terminal, no display, and no FINMCP_BROWSER"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a browser is opened, where somebody is asked to open the page elsewhere, and where nobody is asked at all.
    #[test]
    fn whom_a_page_is_shown_to() {
        let program = || SystemBrowser::Program("b".into());
        let screen = |is_ci, browser: Option<SystemBrowser>, has_display, has_terminal| {
            Surroundings { is_ci, browser, has_display, has_terminal, is_remote: false }.named()
        };
        for has_terminal in [true, false] {
            assert_eq!(screen(false, Some(program()), false, has_terminal), Screen::Browser(program()));
            assert_eq!(screen(false, Some(program()), true, has_terminal), Screen::Browser(program()));
            assert_eq!(screen(false, None, true, has_terminal), Screen::Browser(SystemBrowser::Default));
            for browser in [Some(program()), None] {
                assert_eq!(screen(true, browser, has_terminal, has_terminal), Screen::Nobody("CI is set"));
            }
        }
        assert_eq!(screen(false, None, false, true), Screen::Terminal);
        assert!(matches!(screen(false, None, false, false), Screen::Nobody(_)));
    }
}
