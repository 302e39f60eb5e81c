//! A reader of JSON and of JSON-RPC's responses that shares nothing with the product's.

/// A value; numbers and texts as they are spelled.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Word(String),
    Number(String),
    Text(String),
    Array,
    Object(Vec<(String, Json)>),
}

pub struct Response {
    pub id: String,
    pub error: Option<(i64, String)>,
}

/// The response that `line` is (JSON-RPC 2.0 section 5).
pub fn response(line: &str) -> Result<Response, String> {
    let mut reader = Reader { bytes: line.as_bytes(), at: 0 };
    let value = reader.value()?;
    reader.space();
    let Json::Object(members) = value else { return Err("no object".to_owned()) };
    if reader.at != line.len() {
        return Err(format!("something behind it at {}", reader.at));
    }
    let member = |name: &str| {
        let mut found = members.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone());
        let first = found.next();
        if found.next().is_some() { Err(format!("{name} twice")) } else { Ok(first) }
    };
    if member("jsonrpc")? != Some(Json::Text("2.0".to_owned())) || member("method")?.is_some() {
        return Err("no response of JSON-RPC 2.0".to_owned());
    }
    let id = match member("id")? {
        Some(Json::Number(id)) => id,
        other => return Err(format!("the id is {other:?}")),
    };
    let error = match (member("result")?, member("error")?) {
        (Some(_), None) => None,
        (None, Some(Json::Object(error))) => {
            let field = |name: &str| {
                error.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect::<Vec<_>>()
            };
            match (&field("code")[..], &field("message")[..]) {
                ([Json::Number(code)], [Json::Text(message)]) => {
                    Some((code.parse().map_err(|_| format!("the code is {code}"))?, message.clone()))
                }
                other => return Err(format!("code and message are {other:?}")),
            }
        }
        other => return Err(format!("result and error are {other:?}")),
    };
    Ok(Response { id, error })
}

/// RFC 8259, rule by rule.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn wants(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() != byte {
            return Err(format!("no {} at {}", byte as char, self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Json, String> {
        self.space();
        match self.peek() {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => self.text().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self) -> Result<Json, String> {
        self.wants(b'{')?;
        let mut members = Vec::new();
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.text()?;
            self.space();
            self.wants(b':')?;
            members.push((name, self.value()?));
            self.space();
            if self.peek() != b',' {
                self.wants(b'}')?;
                return Ok(Json::Object(members));
            }
            self.at += 1;
        }
    }

    fn array(&mut self) -> Result<Json, String> {
        self.wants(b'[')?;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(Json::Array);
        }
        loop {
            self.value()?;
            self.space();
            if self.peek() != b',' {
                self.wants(b']')?;
                return Ok(Json::Array);
            }
            self.at += 1;
        }
    }

    /// The text as it is spelled, without its quotes.
    fn text(&mut self) -> Result<String, String> {
        self.wants(b'"')?;
        let start = self.at;
        loop {
            match self.peek() {
                0..0x20 => return Err(format!("a control character at {}", self.at)),
                b'"' => break,
                b'\\' => {
                    let escape = self.bytes.get(self.at + 1).copied().unwrap_or(0);
                    let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                    match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                        b'u' if digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                        _ => return Err(format!("no escape at {}", self.at)),
                    }
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        String::from_utf8(self.bytes[start..self.at - 1].to_vec()).map_err(|error| error.to_string())
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(format!("no digit at {start}")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        self.at += usize::from(self.peek() == b'-');
        if self.peek() == b'0' {
            self.at += 1
        } else {
            self.digits()?
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            self.digits()?;
        }
        Ok(Json::Number(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()))
    }

    fn word(&mut self) -> Result<Json, String> {
        for word in ["true", "false", "null"] {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(Json::Word(word.to_owned()));
            }
        }
        Err(format!("no value at {}", self.at))
    }
}

/// A reader that takes anything proves nothing.
#[test]
fn only_valid_responses_pass() {
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"n":[1.10,-0,1e5,"\ud800"]}}"#,
        r#" { "jsonrpc" : "2.0" , "id" : 1 , "error" : { "code" : -7 , "message" : "" , "data" : null } } "#,
    ] {
        assert!(response(line).is_ok(), "{line}");
    }
    for line in [
        r#"{"id":1,"result":1}"#,
        r#"{"jsonrpc":"2.0","result":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":1,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.0,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":01}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":NaN}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":"\x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1} {}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\u{1}\"}",
    ] {
        assert!(response(line).is_err(), "{line}");
    }
}
