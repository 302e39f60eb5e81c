//! An MCP client of finmcp's own, for `tools`, `call`, `doctor` and the demo. At its other end is the bridge in this
//! process, which speaks with servers of every era, or another program on a pair of pipes.
//!
//! Results are the server's bytes: nothing is rounded, re-ordered or left out on the way to a person or a script.

use std::{collections::HashSet, io};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bridge::{
        conversation::reply::ReplyCode,
        stdio::downstream::{Line, Reader, Writer},
    },
    mcp::{
        id::Id,
        introduction,
        malformed::Malformed,
        message::{Kind, Message},
        object,
    },
};

/// How many pages of a list are read. A server that has more does not know where it is.
const PAGES: usize = 1000;

/// How much of a server's reason is kept, in characters.
const LONGEST_REASON: usize = 4000;

/// One session, in which one request is under way at a time.
pub struct Client {
    reader: Reader,
    writer: Writer,
    requests: u64,
    greeting: Message,
}

/// Why a request brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A JSON-RPC error, with its code (JSON-RPC 2.0 section 5.1). The text may be the server's.
    #[error("{message}")]
    Refused {
        /// What kind of error.
        code: i64,
        /// What the other side says.
        message: String,
    },
    /// What came is no JSON-RPC message, or no result of what was asked.
    #[error("the answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The other side has closed the conversation.
    #[error("the conversation ended before the answer came")]
    Ended,
    /// What the system says.
    #[error("the conversation broke off before the answer came")]
    Broken(#[from] io::Error),
}

/// What is heard while a request is under way.
pub enum Heard {
    /// Its result: the last that is heard.
    Result(Message),
    /// A request of the server, which waits for [`Client::answer`].
    Question(Message),
    /// A notification.
    Notice(Message),
}

impl Client {
    /// Opens a session with the server at the other end of the streams (MCP 2025-11-25 lifecycle, "Initialization"), for
    /// a client of such `capabilities`: a JSON object.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn connect((reader, writer): (Reader, Writer), capabilities: &str) -> Result<Self, ClientError> {
        let mut client = Self { reader, writer, requests: 0, greeting: Message::notification("", "{}") };
        let id = client.next_id();
        client.say(&introduction::initialize(id.clone(), capabilities)).await?;
        client.greeting = client.result(&id).await?;
        client.say(&Message::notification("notifications/initialized", "{}")).await?;
        Ok(client)
    }

    /// The server's description of itself: its answer to `initialize`.
    pub fn greeting(&self) -> &Message {
        &self.greeting
    }

    /// Sends a request; [`Client::hear`] tells what comes of it. `params` is JSON.
    ///
    /// # Errors
    /// The other side is gone.
    pub async fn ask(&mut self, method: &str, params: &str) -> Result<Id, ClientError> {
        let id = self.next_id();
        self.say(&Message::request(id.clone(), method, params)).await?;
        Ok(id)
    }

    fn next_id(&mut self) -> Id {
        self.requests += 1;
        Id::from_number(self.requests)
    }

    /// What comes next while the request `id` is under way. A `ping` is answered and not told.
    ///
    /// # Errors
    /// Any [`ClientError`]: the request has failed then.
    pub async fn hear(&mut self, id: &Id) -> Result<Heard, ClientError> {
        loop {
            let message = match self.reader.next().await? {
                Some(Line::Message(message)) => message,
                Some(Line::Batch(_)) => return Err(ClientError::Nonsense(named(Malformed::Message))),
                Some(Line::Malformed(malformed)) => return Err(ClientError::Nonsense(named(malformed))),
                None => return Err(ClientError::Ended),
            };
            match &message.kind {
                Kind::Response { id: Some(answered), succeeded } if answered == id => {
                    return if *succeeded { Ok(Heard::Result(message)) } else { Err(refusal(&message)) };
                }
                // What the other side could not even read: it is the one that is under way.
                Kind::Response { id: None, succeeded: false } => return Err(refusal(&message)),
                // To a request that was given up.
                Kind::Response { .. } => {}
                Kind::Request { id, method } if &**method == "ping" => {
                    let answer = Message::response(id, "{}");
                    self.say(&answer).await?;
                }
                Kind::Request { .. } => return Ok(Heard::Question(message)),
                Kind::Notification { .. } => return Ok(Heard::Notice(message)),
            }
        }
    }

    /// Answers what the server asked; `result` is JSON.
    ///
    /// # Errors
    /// The other side is gone.
    pub async fn answer(&mut self, question: &Message, result: &str) -> Result<(), ClientError> {
        let Some(id) = question.id() else { return Ok(()) };
        self.say(&Message::response(id, result)).await
    }

    /// Tells the server that what it asks is not done here.
    ///
    /// # Errors
    /// The other side is gone.
    pub async fn decline(&mut self, question: &Message) -> Result<(), ClientError> {
        let Some(id) = question.id() else { return Ok(()) };
        let code = ReplyCode::MethodNotFound as i32;
        self.say(&Message::error(Some(id), code, "finmcp does not do this")).await
    }

    /// The result of a request during which the server can ask nothing.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn request(&mut self, method: &str, params: &str) -> Result<Message, ClientError> {
        let id = self.ask(method, params).await?;
        self.result(&id).await
    }

    async fn result(&mut self, id: &Id) -> Result<Message, ClientError> {
        loop {
            match self.hear(id).await? {
                Heard::Result(result) => return Ok(result),
                Heard::Question(question) => self.decline(&question).await?,
                Heard::Notice(_) => {}
            }
        }
    }

    /// All tools, each as the server wrote it (MCP 2025-11-25 tools, "Listing Tools"; "Pagination").
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn tools(&mut self) -> Result<Vec<Box<RawValue>>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            tools: Vec<Box<RawValue>>,
            #[serde(default, rename = "nextCursor")]
            next: Option<String>,
        }
        let (mut tools, mut seen, mut params) = (Vec::new(), HashSet::new(), "{}".to_owned());
        for _ in 0..PAGES {
            let answer = self.request("tools/list", &params).await?;
            let page: Page = answer.result().ok_or(ClientError::Nonsense("the list of tools is not one"))?;
            tools.extend(page.tools);
            let Some(next) = page.next else { return Ok(tools) };
            params = format!(r#"{{"cursor":{}}}"#, object::text(&next));
            if !seen.insert(next) {
                return Err(ClientError::Nonsense("the list of tools goes round in circles"));
            }
        }
        Err(ClientError::Nonsense("the list of tools has no end"))
    }

    async fn say(&mut self, message: &Message) -> Result<(), ClientError> {
        self.writer.push(message.clone().line());
        Ok(self.writer.flush().await?)
    }
}

fn named(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Json => "it is not JSON",
        Malformed::Message => "it is not a JSON-RPC message",
        Malformed::TooLong => "it is longer than a message may be",
    }
}

/// What an error response says.
fn refusal(message: &Message) -> ClientError {
    #[derive(Deserialize)]
    struct Response {
        error: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        message: String,
    }
    let said = serde_json::from_slice::<Response>(message.raw()).map(|response| response.error.message);
    let said = said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| "the server gives no reason".to_owned());
    ClientError::Refused {
        code: message.error_code().unwrap_or_default(),
        message: said.chars().take(LONGEST_REASON).collect(),
    }
}
