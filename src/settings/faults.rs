//! Every fault in a `config.toml`, with its line.
//!
//! A parser stops at the first fault. So each fault found is taken out of the text, whole lines at a time and with the
//! lines around it staying where they are, and the rest is read again.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use toml_edit::{Document, Item, Table};

use crate::{
    oauth::client_metadata::ClientMetadataUrl,
    profile::{presets, profiles::Profiles, provider::Provider},
    settings::{authorities, config::ConfigDocument},
};

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    pub problem: String,
}

/// The faults in `text`, by line; empty if finmcp accepts it.
pub fn faults(text: &str) -> Vec<Fault> {
    let mut lines = Lines { lines: text.split('\n').map(str::to_owned).collect() };
    let mut faults = syntax_faults(&mut lines);
    faults.extend(invalid_values(&mut lines));
    faults.sort_by_key(|fault| fault.line);
    faults
}

/// The faults that the parser and the deserializer find. Afterwards `lines` has none of them.
fn syntax_faults(lines: &mut Lines) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Each round empties a line.
    for _ in 0..lines.lines.len() {
        let text = lines.text();
        let (error, parts) = match Document::parse(text.clone()) {
            Err(error) => (toml_edit::de::Error::from(error), None),
            Ok(document) => match toml_edit::de::from_str::<ConfigDocument>(&text) {
                Ok(_) => break,
                Err(error) => (error, Some(Layout::of(&document, lines))),
            },
        };
        let line = lines.at(error.span().map_or(0, |span| span.start));
        faults.push(Fault { line: line + 1, problem: error.message().to_owned() });
        let part = parts.and_then(|layout| layout.part_at(line).cloned());
        // In a text that does not parse, a header that is lost takes its section along: else its members would seem
        // to be those of the section before.
        let is_header = lines.lines[line].trim_start().starts_with('[');
        lines.empty(part.unwrap_or_else(|| if is_header { lines.section(line) } else { line..line + 1 }));
    }
    faults
}

/// The faults that only validation finds: URLs, names, and members that exclude each other.
fn invalid_values(lines: &mut Lines) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut tables = BTreeSet::new();
    while let Some((document, layout)) = lines.document() {
        let before = faults.len();
        for (path, problem) in invalid_tables(&document) {
            let member = layout.member(&path, &problem);
            // Without the member that is taken out, a table may lack something: that is no other fault.
            if !tables.insert(path.clone())
                && member.as_ref().is_none_or(|(_, rest)| !rest.starts_with(':') && *rest != " is empty")
            {
                continue;
            }
            let part = member.map_or_else(|| layout.line(&path), |(part, _)| part);
            faults.push(Fault { line: part.start + 1, problem });
            lines.empty(part);
        }
        if faults.len() == before {
            break;
        }
    }
    faults
}

/// The first invalid value of each table, with the path of the table.
fn invalid_tables(document: &ConfigDocument) -> Vec<(Vec<String>, String)> {
    let mut invalid: Vec<(Vec<String>, String)> = Vec::new();
    let mut find = |path: &[&str], problem: String| {
        invalid.push((path.iter().map(|name| (*name).to_owned()).collect(), problem));
    };
    let url = document.client_metadata_url.as_deref().map(str::parse::<ClientMetadataUrl>);
    if let Some(Err(error)) = url {
        find(&["client_metadata_url"], format!("client_metadata_url {error}"));
    }
    if let Some(Err(error)) = document.ca_file.as_deref().map(authorities) {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        find(&["ca_file"], format!("ca_file: {error}{cause}"));
    }
    let mut providers: BTreeMap<String, Provider> = presets::built_in().unwrap_or_default();
    let mut without: BTreeSet<&str> = BTreeSet::new();
    for (id, provider) in &document.providers {
        match provider.clone().validate(id.clone()) {
            Ok(provider) => drop(providers.insert(id.clone(), provider)),
            Err(error) => {
                find(&["providers", id], error.why().to_owned());
                without.insert(id);
            }
        }
    }
    for (name, profile) in &document.profiles {
        // What is wrong with a preset is not wrong with its profiles.
        if profile.provider().is_none_or(|provider| !without.contains(provider))
            && let Err(problem) = profile.profile(name, &providers)
        {
            find(&["profiles", name], problem);
        }
    }
    let is_named = |name: &String| without.contains(name.as_str()) || document.profiles.contains_key(name);
    if let Some(default) = document.default.as_ref().filter(|name| !is_named(name)) {
        let profiles = Profiles::new(providers, None, document.profiles.clone());
        if let Err(error) = profiles.default_name(default) {
            find(&["default"], format!("default: {error}"));
        }
    }
    invalid
}

/// The text, line by line.
struct Lines {
    lines: Vec<String>,
}

impl Lines {
    fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The line of the byte at `offset`, from 0.
    fn at(&self, offset: usize) -> usize {
        let mut end = 0;
        let ends = self.lines.iter().map(|line| {
            end += line.len() + 1;
            end
        });
        ends.take_while(|end| *end <= offset).count().min(self.lines.len() - 1)
    }

    fn empty(&mut self, range: Range<usize>) {
        let end = range.end.min(self.lines.len());
        self.lines[range.start.min(end)..end].iter_mut().for_each(String::clear);
    }

    /// The lines from the header at `line` to the next header.
    fn section(&self, line: usize) -> Range<usize> {
        let rest = self.lines[line + 1..].iter().position(|line| line.trim_start().starts_with('['));
        line..rest.map_or(self.lines.len(), |count| line + 1 + count)
    }

    /// The valid content and its layout.
    fn document(&self) -> Option<(ConfigDocument, Layout)> {
        let text = self.text();
        let document = toml_edit::de::from_str(&text).ok()?;
        Some((document, Layout::of(&Document::parse(text).ok()?, self)))
    }
}

/// Which lines each member of a document takes up, by its path; a table's are those of its header and its members.
struct Layout {
    parts: Vec<(Vec<String>, Range<usize>)>,
}

impl Layout {
    fn of(document: &Document<String>, lines: &Lines) -> Self {
        let mut layout = Self { parts: Vec::new() };
        layout.add(document.as_table(), &[], lines);
        layout
    }

    fn add(&mut self, table: &Table, path: &[String], lines: &Lines) {
        for (name, _) in table.iter() {
            let Some((key, item)) = table.get_key_value(name) else { continue };
            let path = [path, &[name.to_owned()]].concat();
            match item {
                Item::Table(inner) => {
                    if let Some(header) = inner.span() {
                        let line = lines.at(header.start);
                        let part = if inner.is_dotted() { line..line + 1 } else { lines.section(line) };
                        self.parts.push((path.clone(), part));
                    }
                    self.add(inner, &path, lines);
                }
                item => {
                    let start = key.span().map_or(0, |span| span.start);
                    let end = item.span().map_or(start, |span| span.end.saturating_sub(1).max(start));
                    self.parts.push((path, lines.at(start)..lines.at(end) + 1));
                }
            }
        }
    }

    /// The smallest part that begins at `line` or contains it.
    fn part_at(&self, line: usize) -> Option<&Range<usize>> {
        let parts = self.parts.iter().map(|(_, range)| range).filter(|range| range.contains(&line));
        parts.min_by_key(|range| range.len())
    }

    /// The lines of the member of the table at `path` that `problem` begins with, and the rest of `problem`.
    fn member<'p>(&self, path: &[String], problem: &'p str) -> Option<(Range<usize>, &'p str)> {
        let named = |name: &String| {
            let rest = problem.strip_prefix(name.as_str())?;
            (!rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_')).then_some(rest)
        };
        // The member itself, or one of a table within this one.
        let members = self.parts.iter().filter(|(part, _)| part.len() > path.len() && part.starts_with(path));
        members.into_iter().find_map(|(part, range)| Some((range.clone(), part[path.len()..].iter().find_map(named)?)))
    }

    /// The line where the table at `path` begins.
    fn line(&self, path: &[String]) -> Range<usize> {
        let own = self.parts.iter().filter(|(part, _)| part.starts_with(path)).map(|(_, range)| range.start).min();
        let start = own.unwrap_or_default();
        start..start + 1
    }
}

#[cfg(test)]
mod tests;
