//! A list to choose from at the terminal: with the arrow keys, or by typed numbers where the terminal only prints lines.

use std::io::{self, IsTerminal};

use dialoguer::{MultiSelect, console::Term, theme::SimpleTheme};

use crate::{console::Console, paragraph::hanging_indent, settings};

/// The columns of a line before its text: the cursor and the box.
const BOX: usize = 6;

/// The fewest lines in which the keys work: the question, some of the list, and the line of the cursor.
const LOWEST: u16 = 8;

/// A line of a list.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the user can also type.
    pub name: String,
    /// What it is, shown after the name.
    pub about: String,
    /// Whether it is chosen at first.
    pub is_chosen: bool,
}

impl Line {
    fn text(&self) -> String {
        if self.about.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, self.about) }
    }
}

impl Console {
    /// Lets the user choose at least one of `lines`, as their indices. None if the user cancels or cannot be asked.
    pub async fn choose(&self, title: &str, lines: &[Line]) -> Option<Vec<usize>> {
        if !self.is_attended() || lines.is_empty() {
            return None;
        }
        let size = terminal_size::terminal_size();
        let fits = size.is_some_and(|(width, height)| height.0 >= LOWEST && usize::from(width.0) >= self.width());
        let chosen = match fits && !settings::is_plain_terminal() {
            true => self.choose_by_keys(title, lines).await?,
            false => self.choose_by_number(title, lines).await?,
        };
        let names: Vec<&str> = chosen.iter().map(|at| lines[*at].name.as_str()).collect();
        self.say(hanging_indent(&format!("{title}: {}", names.join(", ")), 2, self.width()).trim_end());
        Some(chosen)
    }

    async fn choose_by_keys(&self, title: &str, lines: &[Line]) -> Option<Vec<usize>> {
        let texts: Vec<String> = lines.iter().map(|line| shortened(&line.text(), self.width() - BOX)).collect();
        let mut chosen: Vec<bool> = lines.iter().map(|line| line.is_chosen).collect();
        loop {
            self.say(hanging_indent("Space chooses, Enter goes on, Esc cancels.", 0, self.width()).trim_end());
            let terminal = Restored::now();
            let (title, texts, before) = (title.to_owned(), texts.clone(), chosen.clone());
            // In a separate thread, so that Ctrl-C works.
            let answer = tokio::task::spawn_blocking(move || {
                let list = MultiSelect::with_theme(&SimpleTheme).with_prompt(title).report(false);
                list.items(&texts).defaults(&before).interact_opt()
            });
            let answer = answer.await;
            drop(terminal);
            let answer = answer.ok()?.ok().flatten()?;
            if !answer.is_empty() {
                return Some(answer);
            }
            chosen.fill(false);
            self.say("Nothing is chosen: move to a line with the arrow keys and press Space.");
        }
    }

    async fn choose_by_number(&self, title: &str, lines: &[Line]) -> Option<Vec<usize>> {
        self.say(&format!("{title}:"));
        let column = lines.len().to_string().len() + 4;
        for (line, number) in lines.iter().zip(1_usize..) {
            let number = format!("{number:>0$}. ", column - 2);
            self.say((number + &hanging_indent(&line.text(), column, self.width())).trim_end());
        }
        let chosen: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].is_chosen).collect();
        let numbers: Vec<String> = chosen.iter().map(|at| (at + 1).to_string()).collect();
        let usual = if numbers.is_empty() { String::new() } else { format!(" [{}]", numbers.join(",")) };
        loop {
            let answer = self.ask(&format!("Numbers, for example 1,2{usual}: ")).await?;
            match typed(&answer, lines) {
                Ok(answer) if !answer.is_empty() => return Some(answer),
                Ok(_) if !chosen.is_empty() => return Some(chosen),
                Ok(_) => self.say("Type at least one number, or press Ctrl-D to cancel."),
                Err(word) => self.say(&format!("There is no {word:?} in the list.")),
            }
        }
    }
}

/// The indices of the numbers and names in `answer`.
///
/// # Errors
/// The first word that is neither.
fn typed(answer: &str, lines: &[Line]) -> Result<Vec<usize>, String> {
    // A name can contain a space.
    let whole = lines.iter().position(|line| line.name.eq_ignore_ascii_case(answer.trim()));
    if let Some(at) = whole {
        return Ok(vec![at]);
    }
    let words = answer.split([',', ' ', ';']).map(str::trim).filter(|word| !word.is_empty());
    let mut chosen = Vec::new();
    for word in words {
        let number = word.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let named = lines.iter().position(|line| line.name.eq_ignore_ascii_case(word));
        let at = number.filter(|at| *at < lines.len()).or(named).ok_or_else(|| word.to_owned())?;
        if !chosen.contains(&at) {
            chosen.push(at);
        }
    }
    Ok(chosen)
}

/// `text` in at most `width` columns: a line that the terminal wraps cannot be cleared.
fn shortened(text: &str, width: usize) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.chars().count() <= width {
        return text;
    }
    let start: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", start.trim_end())
}

/// The terminal as it was before the list, restored however the list ends: with Ctrl-C, its thread is still reading.
struct Restored {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Restored {
    fn now() -> Self {
        Self {
            #[cfg(unix)]
            before: rustix::termios::tcgetattr(io::stdin()).ok(),
        }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
        if io::stdin().is_terminal() {
            let _ = Term::stderr().show_cursor();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        ["Cursor", "VS Code", "Zed"]
            .map(|name| Line { name: name.to_owned(), about: String::new(), is_chosen: false })
            .into()
    }

    #[test]
    fn numbers_and_names_are_understood() {
        for (answer, expected) in [
            ("2", Ok(vec![1])),
            (" 1, 3 ", Ok(vec![0, 2])),
            ("1 1;3", Ok(vec![0, 2])),
            ("vs code", Ok(vec![1])),
            ("zed,cursor", Ok(vec![2, 0])),
            ("", Ok(vec![])),
            ("4", Err("4".to_owned())),
            ("0", Err("0".to_owned())),
            ("1,emacs", Err("emacs".to_owned())),
        ] {
            assert_eq!(typed(answer, &lines()), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_line_never_wraps() {
        assert_eq!(shortened("Cursor", 6), "Cursor");
        assert_eq!(shortened("Cursor (starts asset)", 12), "Cursor (sta…");
        assert_eq!(shortened("a\nb", 9), "a b");
    }
}
