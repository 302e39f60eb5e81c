//! An MCP client for `tools`, `call`, `doctor` and the demo. It talks to the bridge in this process, which handles
//! servers of every era, or to another program over a pair of pipes.
//!
//! Results are the server's bytes: nothing is rounded, reordered or dropped on the way to the user or a script.

use std::{collections::HashSet, io};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bridge::stdio::downstream::{Line, Reader, Writer},
    conversation::reply::ReplyCode,
    mcp::{
        id::Id,
        introduction,
        malformed::Malformed,
        message::{Kind, Message},
        object::{self, Object},
    },
};

/// The most pages of a list that the client reads. A server with more is assumed to be looping.
const PAGES: usize = 1000;

/// The longest error message kept from a server, in characters.
const LONGEST_REASON: usize = 4000;

/// What a server lists, page by page.
pub struct List {
    method: &'static str,
    /// The member of the result that has the items.
    member: &'static str,
    /// Whether a server need not know the method.
    is_optional: bool,
    no_list: &'static str,
    loops: &'static str,
    too_long: &'static str,
}

macro_rules! list {
    ($method:literal, $member:literal, $is_optional:literal) => {
        List {
            method: $method,
            member: $member,
            is_optional: $is_optional,
            no_list: concat!($method, " did not return a list of ", $member),
            loops: concat!($method, " pagination loops"),
            too_long: concat!($method, " returned too many pages"),
        }
    };
}

impl List {
    pub const TOOLS: Self = list!("tools/list", "tools", false);
    pub const PROMPTS: Self = list!("prompts/list", "prompts", true);
    pub const RESOURCES: Self = list!("resources/list", "resources", true);
    pub const RESOURCE_TEMPLATES: Self = list!("resources/templates/list", "resourceTemplates", true);
}

/// One session, with one request in flight at a time.
pub struct Client {
    reader: Reader,
    writer: Writer,
    requests: u64,
    initialize_result: Message,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with a JSON-RPC error (JSON-RPC 2.0 section 5.1).
    #[error("{message}")]
    Refused {
        code: i64,
        /// Server-supplied text.
        message: String,
    },
    /// The server sent something other than a JSON-RPC message, or a result that does not fit the request.
    #[error("invalid response: {0}")]
    InvalidResponse(&'static str),
    #[error("the server closed the connection before it answered")]
    Ended,
    #[error("lost the connection before the server answered")]
    Broken(#[from] io::Error),
}

/// A message that arrives while a request is in flight.
pub enum Incoming {
    /// The request's result, after which no more messages arrive for it.
    Result(Message),
    /// A request from the server, to be answered with [`Client::answer`] or [`Client::decline`].
    Request(Message),
    Notification(Message),
}

impl Client {
    /// Opens a session with the server at the other end of the streams (MCP 2025-11-25 lifecycle, "Initialization").
    /// `capabilities` are the client's, as a JSON object.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn connect((reader, writer): (Reader, Writer), capabilities: &str) -> Result<Self, ClientError> {
        let mut client = Self { reader, writer, requests: 0, initialize_result: Message::notification("", "{}") };
        let id = client.next_id();
        client.send(&introduction::initialize(id.clone(), capabilities)).await?;
        client.initialize_result = client.result(&id).await?;
        client.send(&Message::notification("notifications/initialized", "{}")).await?;
        Ok(client)
    }

    /// The server's response to `initialize`.
    pub fn initialize_result(&self) -> &Message {
        &self.initialize_result
    }

    /// Sends a request, whose outcome [`Client::next_message`] returns. `params` is JSON.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn ask(&mut self, method: &str, params: &str) -> Result<Id, ClientError> {
        let id = self.next_id();
        self.send(&Message::request(id.clone(), method, params)).await?;
        Ok(id)
    }

    fn next_id(&mut self) -> Id {
        self.requests += 1;
        Id::from_number(self.requests)
    }

    /// The next message while the request `id` is in flight. The client answers a `ping` here and does not return it.
    ///
    /// # Errors
    /// Any [`ClientError`]: the request has failed.
    pub async fn next_message(&mut self, id: &Id) -> Result<Incoming, ClientError> {
        loop {
            let message = match self.reader.next().await? {
                Some(Line::Message(message)) => message,
                Some(Line::Batch(_)) => return Err(ClientError::InvalidResponse(describe(Malformed::Message))),
                Some(Line::Malformed(malformed)) => return Err(ClientError::InvalidResponse(describe(malformed))),
                None => return Err(ClientError::Ended),
            };
            match &message.kind {
                Kind::Response { id: Some(answered), succeeded } if answered == id => {
                    return if *succeeded { Ok(Incoming::Result(message)) } else { Err(refusal(&message)) };
                }
                // The server could not read a request; this is the only one in flight.
                Kind::Response { id: None, succeeded: false } => return Err(refusal(&message)),
                // The response to an abandoned request.
                Kind::Response { .. } => {}
                Kind::Request { id, method } if &**method == "ping" => {
                    let answer = Message::response(id, "{}");
                    self.send(&answer).await?;
                }
                Kind::Request { .. } => return Ok(Incoming::Request(message)),
                Kind::Notification { .. } => return Ok(Incoming::Notification(message)),
            }
        }
    }

    /// Answers a request from the server; `result` is JSON.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn answer(&mut self, request: &Message, result: &str) -> Result<(), ClientError> {
        let Some(id) = request.id() else { return Ok(()) };
        self.send(&Message::response(id, result)).await
    }

    /// Tells the server that the client does not support its request.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn decline(&mut self, request: &Message) -> Result<(), ClientError> {
        let Some(id) = request.id() else { return Ok(()) };
        let code = ReplyCode::MethodNotFound as i32;
        self.send(&Message::error(Some(id), code, "finmcp does not support this method")).await
    }

    /// Sends a request and returns its result. Requests from the server are declined meanwhile.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn request(&mut self, method: &str, params: &str) -> Result<Message, ClientError> {
        let id = self.ask(method, params).await?;
        self.result(&id).await
    }

    async fn result(&mut self, id: &Id) -> Result<Message, ClientError> {
        loop {
            match self.next_message(id).await? {
                Incoming::Result(result) => return Ok(result),
                Incoming::Request(request) => self.decline(&request).await?,
                Incoming::Notification(_) => {}
            }
        }
    }

    /// All tools, each as the server wrote it.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn tools(&mut self) -> Result<Vec<Box<RawValue>>, ClientError> {
        self.list(&List::TOOLS).await
    }

    /// The items of a list, each as the server wrote it (MCP 2025-11-25 "Pagination"). A server without the method has
    /// no such items.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn list(&mut self, list: &List) -> Result<Vec<Box<RawValue>>, ClientError> {
        let (mut items, mut seen, mut params) = (Vec::new(), HashSet::new(), "{}".to_owned());
        for _ in 0..PAGES {
            let answer = match self.request(list.method, &params).await {
                Err(ClientError::Refused { code, .. })
                    if code == i64::from(ReplyCode::MethodNotFound as i32) && list.is_optional =>
                {
                    return Ok(items);
                }
                answer => answer?,
            };
            let page: Object<'_> = answer.result().ok_or(ClientError::InvalidResponse(list.no_list))?;
            let listed =
                page.get(list.member).and_then(|listed| serde_json::from_str::<Vec<Box<RawValue>>>(listed).ok());
            items.extend(listed.ok_or(ClientError::InvalidResponse(list.no_list))?);
            let next = page.get("nextCursor").map(serde_json::from_str::<Option<String>>);
            let next = next.transpose().map_err(|_| ClientError::InvalidResponse(list.no_list))?;
            let Some(next) = next.flatten() else { return Ok(items) };
            params = format!(r#"{{"cursor":{}}}"#, object::text(&next));
            if !seen.insert(next) {
                return Err(ClientError::InvalidResponse(list.loops));
            }
        }
        Err(ClientError::InvalidResponse(list.too_long))
    }

    async fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        self.writer.push(message.clone().line());
        Ok(self.writer.flush().await?)
    }
}

fn describe(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Json => "not JSON",
        Malformed::Message => "not a JSON-RPC message",
        Malformed::TooLong => "the message is too long",
    }
}

fn refusal(message: &Message) -> ClientError {
    #[derive(Deserialize)]
    struct Response {
        error: ErrorObject,
    }
    #[derive(Deserialize)]
    struct ErrorObject {
        #[serde(default)]
        message: String,
    }
    let text = serde_json::from_slice::<Response>(message.raw()).map(|response| response.error.message);
    let text = text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "the server gave no reason".to_owned());
    ClientError::Refused {
        code: message.error_code().unwrap_or_default(),
        message: text.chars().take(LONGEST_REASON).collect(),
    }
}
