//! JSON as editors write it: only the entry's bytes change.

use super::*;

const CLIENT: Client = Client::Cursor;

fn variants(text: &str) -> [String; 3] {
    [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")]
}

/// The entry and the comma before it are inserted at different places.
#[test]
fn json_of_any_layout_keeps_every_byte_around_the_entry() {
    for before in [
        "{\"mcpServers\":{\"b\":{\"command\":\"x\"}},\"last\":[ 1 ,2,],\"ü\":\"🙂\"}",
        "{\n\n  \"mcpServers\": {\n\n    \"b\": {\"command\": \"x\"}\n\n  }\n\n}\n\n",
        "{ \"mcpServers\": { \"b\": {}, /* one */ // two, }\n  } /* } */ , }",
        "{\n\t\"mcpServers\" : {\n\t\t// first\n\t\t\"b\": {}, // b,\n\t\t\"c\": [\"}\"] /* c\n\t\t*/ , // last\n\t},\n}\n",
        "// ☕ {\n{\"\\u006dcpServers\": {\"größe\": {}\n// 🙂 }\n}}\n/* end */",
        "{\"mcpServers\": {\n\"b\": {\"command\": \"x\"\n}\n// \"c\": {},\n}, \"n\": 1.10, \"e\": 1e2}",
    ] {
        for before in variants(before) {
            let after = with(CLIENT, &before, &entry());
            let (mut left, mut added) = (before.bytes().peekable(), Vec::new());
            for byte in after.bytes() {
                if left.next_if_eq(&byte).is_none() {
                    added.push(byte);
                }
            }
            assert_eq!(left.next(), None, "everything is still there, in order: {after}");
            let document = Document::read(CLIENT, &after).unwrap();
            assert_eq!(document.entries().last(), Some(&entry()), "{after}");
            assert_eq!(added.contains(&b'\r'), before.contains('\r'), "{after:?}");
            assert_eq!(with(CLIENT, &after, &entry()), after, "idempotent");
            assert_eq!(without(CLIENT, &after), before);
        }
    }
}

/// Removing an entry keeps its neighbours' commas and comments.
#[test]
fn json_without_an_entry_keeps_its_surroundings() {
    for (before, after) in [
        ("{\"mcpServers\":{\"asset-sandbox\":{},\"b\":{}}}", "{\"mcpServers\":{\"b\":{}}}"),
        ("{\"mcpServers\":{\"a\":{} /* a */, \"asset-sandbox\":{} }}", "{\"mcpServers\":{\"a\":{} /* a */ }}"),
        (
            "{\"mcpServers\":{\"a\":{}, // a\n\"asset-sandbox\":{}, \"b\":{}}}",
            "{\"mcpServers\":{\"a\":{}, // a\n \"b\":{}}}",
        ),
        ("{\"mcpServers\":{\"a\":{}, // a\n  \"asset-sandbox\":{}\n}}", "{\"mcpServers\":{\"a\":{} // a\n}}"),
        ("{\"mcpServers\":{\n  \"asset-sandbox\":{},\n}}", "{\"mcpServers\":{}}"),
        ("{\"mcpServers\":{ /* none */ \"asset-sandbox\":{} }}", "{\"mcpServers\":{ /* none */ }}"),
    ] {
        for (before, after) in variants(before).into_iter().zip(variants(after)) {
            assert_eq!(without(CLIENT, &before), after);
        }
    }
}

#[test]
fn json_of_another_shape_is_refused_with_its_place() {
    let refused = |text: &str| change::applied(CLIENT, text, &[Change::Put(entry())]).unwrap_err().to_string();
    for (text, said) in [
        ("\"CANARY\"", "line 1: the file is not an object"),
        ("// x\n[{}]", "line 2: the file is not an object"),
        ("{\"mcpServers\":\n\"CANARY\"}", "line 2: mcpServers is not an object"),
        ("{\"mcpServers\":{\n\"asset-sandbox\": \"CANARY\"}}", "line 2: \"asset-sandbox\" is not an object"),
        ("{\"mcpServers\":{\n\"asset-sandbox\": [\"CANARY\"]}}", "line 2: \"asset-sandbox\" is not an object"),
        ("{\"mcpServers\":{\"asset-sandbox\":{},\n\"asset-\\u0073andbox\":{}}}", "line 2: duplicate \"asset-sandbox\""),
        ("{\"mcpServers\":{},\n\n\"mcpServers\":{\"a\":{}}}", "line 3: duplicate \"mcpServers\""),
        ("{\"ü\": CANARY}", "line 1, column 7: not valid JSON"),
        ("{\"a\": 1\r\n\"b\": 2}", "line 1, column 8: not valid JSON"),
        ("{\"a\": 'CANARY'}", "line 1, column 7: not valid JSON"),
    ] {
        assert_eq!(refused(text), said, "{text:?}");
    }
    let twice = "{\"mcpServers\":{\"asset-sandbox\":{},\"asset-sandbox\":{}}}";
    assert!(change::applied(CLIENT, twice, &[Change::Take(entry().name)]).is_err());
    // Duplicate members elsewhere stay.
    let elsewhere = "{\"a\":1,\"a\":2,\"mcpServers\":{\"b\":{},\"b\":{\"c\":1}}}";
    assert_eq!(without(CLIENT, &with(CLIENT, elsewhere, &entry())), elsewhere);
}
