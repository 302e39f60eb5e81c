//! A result that is a list of records, as CSV (RFC 4180).
//!
//! Values stay as the server wrote them: a number is never parsed, so `1.10` stays `1.10`.

use std::collections::HashSet;

use csv::{Terminator, WriterBuilder};
use serde_json::value::RawValue;

use crate::{
    mcp::object::Object,
    tool::answer::{Answer, Block},
};

/// A record: its members in order, with their values as JSON.
pub type Record = Vec<(String, String)>;

/// Why a result cannot be written as CSV.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("the result is not a list of records")]
    NoList,
    /// Several members of the result are lists, and nothing says which one is meant.
    #[error("the result has several lists: {}", .0.join(", "))]
    SeveralLists(Vec<String>),
    #[error("{0}")]
    Csv(String),
}

/// The records of a result: its structured content or its text is an array of objects, or an object with one such array
/// in it; or each of its texts is an object.
///
/// # Errors
/// [`RecordsError::NoList`] or [`RecordsError::SeveralLists`].
pub fn of(answer: &Answer) -> Result<Vec<Record>, RecordsError> {
    let texts: Vec<&str> = answer.blocks.iter().filter_map(Block::as_text).collect();
    let mut several = None;
    for text in answer.structured.as_deref().into_iter().chain(texts.iter().copied()) {
        match list(text) {
            Err(RecordsError::NoList) => {}
            Err(error) => several = several.or(Some(error)),
            records => return records,
        }
    }
    let records: Option<Vec<Record>> = texts.iter().map(|text| record(text)).collect();
    match (several, records) {
        (None, Some(records)) if records.len() > 1 => Ok(records),
        (several, _) => Err(several.unwrap_or(RecordsError::NoList)),
    }
}

/// The records of one JSON text.
fn list(text: &str) -> Result<Vec<Record>, RecordsError> {
    if let Some(records) = array(text) {
        return Ok(records);
    }
    let object = Object::parse(text.trim()).unwrap_or_default();
    let lists: Vec<(String, Vec<Record>)> =
        object.iter().filter_map(|(name, value)| Some((name, array(value)?))).collect();
    let filled = lists.iter().filter(|(_, records)| !records.is_empty()).count();
    let mut wanted = lists.into_iter().filter(|(_, records)| filled == 0 || !records.is_empty());
    match (wanted.next(), wanted.next()) {
        (None, _) => Err(RecordsError::NoList),
        (Some((_, records)), None) => Ok(records),
        (Some(first), Some(second)) => {
            let lists = [first, second].into_iter().chain(wanted);
            Err(RecordsError::SeveralLists(lists.map(|(name, _)| name).collect()))
        }
    }
}

/// The records of a JSON array of objects.
fn array(text: &str) -> Option<Vec<Record>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    items.into_iter().map(|item| record(item.get())).collect()
}

fn record(text: &str) -> Option<Record> {
    let object = Object::parse(text.trim())?;
    Some(object.iter().map(|(name, value)| (name, value.to_owned())).collect())
}

/// The records as CSV: a line of names, in the order in which they first occur, and a line for each record.
///
/// # Errors
/// [`RecordsError::Csv`].
pub fn csv(records: &[Record]) -> Result<String, RecordsError> {
    let mut seen = HashSet::new();
    let names: Vec<&str> =
        records.iter().flatten().map(|(name, _)| name.as_str()).filter(|name| seen.insert(*name)).collect();
    if names.is_empty() {
        return Ok(String::new());
    }
    let failed = |error: &dyn ToString| RecordsError::Csv(error.to_string());
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(names.iter().map(|name| harmless(name))).map_err(|error| failed(&error))?;
    for record in records {
        // The last of several members of the same name counts, as for most parsers (RFC 8259 section 4).
        let value = |name: &&str| record.iter().rev().find(|(member, _)| member == name);
        let fields = names.iter().map(|name| value(name).map(|(_, value)| field(value)).unwrap_or_default());
        writer.write_record(fields).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// A JSON value as a field: text without quotes, nothing for `null`, everything else as written.
fn field(value: &str) -> String {
    match serde_json::from_str::<String>(value) {
        Ok(text) => harmless(&text),
        Err(_) if value == "null" => String::new(),
        Err(_) => value.to_owned(),
    }
}

/// `text` so that no spreadsheet takes it for a formula, which could send data elsewhere or start programs (OWASP, "CSV
/// Injection"): with `'` in front, unless it is a number.
fn harmless(text: &str) -> String {
    const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－'];
    let is_formula = text.starts_with(FORMULA) || text.starts_with('＠');
    if is_formula && !is_number(text) { format!("'{text}") } else { text.to_owned() }
}

/// Whether `text` is a number in any common notation: `-1,234.50`, `+3%`, `-1.5e-7`.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let digits = digits.strip_suffix('%').unwrap_or(digits);
    let (digits, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent = exponent.trim_start_matches(['+', '-']);
    text.len() <= digits.len() + exponent.len() + 4
        && digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
        && !exponent.is_empty()
        && exponent.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(result: &str) -> Result<String, RecordsError> {
        of(&Answer::parse(result).unwrap()).and_then(|records| csv(&records))
    }

    fn structured(content: &str) -> Result<String, RecordsError> {
        converted(&format!(r#"{{"content":[],"structuredContent":{content}}}"#))
    }

    #[test]
    fn records_are_found_where_servers_put_them() {
        let expected = "a,b\r\n1.10,x\r\n";
        let text = |text: &str| serde_json::json!({"type": "text", "text": text}).to_string();
        for result in [
            r#"{"content":[],"structuredContent":{"items":[{"a":1.10,"b":"x"}],"total":1,"tags":["t"]}}"#.to_owned(),
            r#"{"content":[],"structuredContent":{"result":[{"a":1.10,"b":"x"}],"errors":[]}}"#.to_owned(),
            format!(r#"{{"content":[{}]}}"#, text(r#" [{"a":1.10,"b":"x"}]"#)),
            format!(r#"{{"content":[{},{}]}}"#, text("Here they are:"), text(r#"{"rows":[{"a":1.10,"b":"x"}]}"#)),
        ] {
            assert_eq!(converted(&result).unwrap(), expected, "{result}");
        }
        let each = format!(r#"{{"content":[{},{}]}}"#, text(r#"{"a":1.10}"#), text(r#"{"a":2}"#));
        assert_eq!(converted(&each).unwrap(), "a\r\n1.10\r\n2\r\n");
        for none in [r#"{"a":1}"#, "[1,2]", r#"[{"a":1},2]"#, "3", r#"{"items":["x"]}"#] {
            assert!(matches!(structured(none), Err(RecordsError::NoList)), "{none}");
        }
        let error = structured(r#"{"paid":[{"a":1}],"open":[{"a":2}]}"#).unwrap_err();
        assert_eq!(error.to_string(), "the result has several lists: paid, open");
        assert_eq!(structured(r#"{"items":[]}"#).unwrap(), "");
    }

    #[test]
    fn values_stay_as_the_server_wrote_them() {
        let records = r#"[{"n":1.10,"big":12345678901234567890123,"e":-1.50E+3,"t":"x,\"y\"\nz"},
            {"extra":{"a":[1.0, 2]},"n":null,"t":true,"l":"\ud800"},{"n":1,"n":2}]"#;
        let expected = "n,big,e,t,extra,l\r\n\
            1.10,12345678901234567890123,-1.50E+3,\"x,\"\"y\"\"\nz\",,\r\n\
            ,,,true,\"{\"\"a\"\":[1.0, 2]}\",\"\"\"\\ud800\"\"\"\r\n\
            2,,,,,\r\n";
        assert_eq!(structured(records).unwrap(), expected);
    }

    /// t113: a spreadsheet must not run what a customer wrote into an invoice.
    #[test]
    fn t113_text_is_no_formula_and_numbers_stay_numbers() {
        for formula in
            ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1", "-", "+1 555 123", "--1x"]
        {
            let records = format!(r#"[{{"v":{}}}]"#, serde_json::to_string(formula).unwrap());
            assert!(structured(&records).unwrap().contains(&format!("'{formula}")), "{formula}");
        }
        assert_eq!(structured(r#"[{"=HYPERLINK()":1}]"#).unwrap(), "'=HYPERLINK()\r\n1\r\n");
        for number in ["-1.10", "+3", "-1,234.50", "-5%", "-1.5e-7", "-.5"] {
            assert_eq!(
                structured(&format!(r#"[{{"v":"{number}"}}]"#)).unwrap().replace('"', ""),
                format!("v\r\n{number}\r\n")
            );
        }
        assert_eq!(structured(r#"[{"v":-1.10}]"#).unwrap(), "v\r\n-1.10\r\n");
    }
}
