//! A server on rmcp, of either era, on a free port.
#![expect(deprecated, reason = "the legacy era's own features")]

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CreateMessageRequest,
        CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, Implementation, InputRequest, InputRequests,
        InputRequiredResult, InputResponses, ListResourcesResult, ListRootsRequest, ListToolsResult, LoggingLevel,
        LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
        ResourceUpdatedNotificationParam, SamplingMessage, ServerCapabilities, ServerConfig, SetLevelRequestParams,
        SubscribeRequestParams, SubscriptionFilter, Tool,
    },
    service::{RequestContext, SubscriptionContext, SubscriptionSink},
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Which protocols a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eras {
    /// The `initialize` handshake.
    Legacy,
    /// 2026-07-28.
    Modern,
    /// Both.
    Both,
}

/// The resource whose updates can be subscribed to.
pub const RESOURCE: &str = "test://one";

/// A running server. Dropping it closes its port.
pub struct RmcpServer {
    pub url: String,
    closing: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

impl RmcpServer {
    pub fn start(eras: Eras) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let closing = Arc::new(Notify::new());
        let ended = Arc::clone(&closing);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server { eras, shared: Arc::default() };
                let config = StreamableHttpServerConfig::default()
                    .with_legacy_session_mode(eras != Eras::Modern)
                    .with_stateless_protocol_metadata_required(eras == Eras::Modern);
                let sessions = Arc::new(LocalSessionManager::default());
                let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
                let router = axum::Router::new().nest_service("/mcp", service);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    () = ended.notified() => {}
                }
            });
        });
        Self { url, closing, thread: Some(thread) }
    }
}

impl Drop for RmcpServer {
    fn drop(&mut self) {
        self.closing.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[derive(Clone)]
struct Server {
    eras: Eras,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    changed: AtomicBool,
    hanging: AtomicUsize,
    level: Mutex<Option<LoggingLevel>>,
    /// The legacy sessions that watch the resource.
    watchers: Mutex<Vec<Peer<RoleServer>>>,
    listeners: Mutex<Vec<SubscriptionSink>>,
}

type Answer = Result<CallToolResponse, ErrorData>;

fn text(said: impl Into<String>) -> Answer {
    Ok(CallToolResult::success(vec![ContentBlock::text(said)]).into())
}

fn failed(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

fn question(who: &str) -> ElicitRequestParams {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: format!("What is {who} called?"),
        requested_schema: serde_json::from_value(schema).unwrap(),
    }
}

fn summary() -> CreateMessageRequestParams {
    CreateMessageRequestParams::new(vec![SamplingMessage::user_text("this")], 10)
}

impl Server {
    async fn ask(
        &self,
        who: &str,
        answers: Option<&InputResponses>,
        context: &RequestContext<RoleServer>,
        is_modern: bool,
    ) -> Answer {
        let answer = match answers {
            Some(answers) => answers["name"].clone(),
            None if is_modern => {
                let asked = InputRequest::Elicitation(ElicitRequest::new(question(who)));
                let requests = InputRequests::from([("name".to_owned(), asked)]);
                return Ok(InputRequiredResult::new(Some(requests), Some(who.to_owned())).into());
            }
            None => {
                let answer = context.peer.create_elicitation(question(who)).await.map_err(failed)?;
                serde_json::to_value(answer).unwrap()
            }
        };
        text(format!("hello {}", answer["content"]["name"].as_str().unwrap()))
    }

    async fn all(
        &self,
        answers: Option<&InputResponses>,
        context: &RequestContext<RoleServer>,
        is_modern: bool,
    ) -> Answer {
        let [name, said, roots] = match answers {
            Some(answers) => ["name", "summary", "roots"].map(|key| answers[key].clone()),
            None if is_modern => {
                let requests = InputRequests::from([
                    ("name".to_owned(), InputRequest::Elicitation(ElicitRequest::new(question("everybody")))),
                    ("summary".to_owned(), InputRequest::CreateMessage(CreateMessageRequest::new(summary()))),
                    ("roots".to_owned(), InputRequest::ListRoots(ListRootsRequest::default())),
                ]);
                return Ok(InputRequiredResult::from_input_requests(requests).into());
            }
            None => {
                let name = context.peer.create_elicitation(question("everybody")).await.map_err(failed)?;
                let said = context.peer.create_message(summary()).await.map_err(failed)?;
                let roots = context.peer.list_roots().await.map_err(failed)?;
                [json!(name), json!(said), json!(roots)]
            }
        };
        let [name, uri] = [&name["content"]["name"], &roots["roots"][0]["uri"]].map(|value| value.as_str().unwrap());
        let said = [&said["content"]["text"], &said["content"][0]["text"]].into_iter().find_map(Value::as_str).unwrap();
        text(format!("{name} {said} {uri}"))
    }

    async fn progress(&self, count: u64, context: &RequestContext<RoleServer>) -> Answer {
        if let Some(token) = context.meta.get_progress_token() {
            for step in 1..=count {
                #[expect(clippy::cast_precision_loss, reason = "these are small")]
                let progress = ProgressNotificationParam::new(token.clone(), step as f64);
                context.peer.notify_progress(progress).await.map_err(failed)?;
            }
        }
        // The TypeScript SDK's clients forget whom to tell of progress as soon as they see the result.
        tokio::time::sleep(Duration::from_millis(100)).await;
        text("done")
    }

    async fn log(&self, context: &RequestContext<RoleServer>, is_modern: bool) -> Answer {
        let wanted = if is_modern { context.meta.log_level() } else { *self.shared.level.lock().unwrap() };
        let rank = |level: LoggingLevel| json!(level);
        let levels = [LoggingLevel::Debug, LoggingLevel::Info, LoggingLevel::Warning, LoggingLevel::Error];
        let from = levels.iter().position(|level| Some(rank(*level)) == wanted.map(rank)).unwrap_or(0);
        for level in levels.into_iter().skip(from).filter(|_| wanted.is_some() || !is_modern) {
            let message = LoggingMessageNotificationParam::new(level, json!(level));
            context.peer.notify_logging_message(message).await.map_err(failed)?;
        }
        text("logged")
    }

    async fn touch(&self) -> Answer {
        let watchers = self.shared.watchers.lock().unwrap().clone();
        for peer in watchers {
            let _ = peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(RESOURCE)).await;
        }
        let listeners = self.shared.listeners.lock().unwrap().clone();
        for sink in listeners {
            let _ = sink.notify_resource_updated(RESOURCE).await;
        }
        text("touched")
    }

    async fn change(&self, context: &RequestContext<RoleServer>, is_modern: bool) -> Answer {
        self.shared.changed.store(true, Relaxed);
        if !is_modern {
            context.peer.notify_tool_list_changed().await.map_err(failed)?;
        }
        let listeners = self.shared.listeners.lock().unwrap().clone();
        for sink in listeners {
            let _ = sink.notify_tool_list_changed().await;
        }
        text("changed")
    }

    async fn hang(&self, context: &RequestContext<RoleServer>) -> Answer {
        self.shared.hanging.fetch_add(1, Relaxed);
        tokio::select! {
            () = context.ct.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
        self.shared.hanging.fetch_sub(1, Relaxed);
        text("enough")
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_logging()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("rmcp", "1"))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let (modern, legacy): (Vec<_>, Vec<_>) =
            ProtocolVersion::KNOWN_VERSIONS.iter().cloned().partition(|version| version.as_str() >= "2026-07-28");
        match self.eras {
            Eras::Legacy => legacy.into(),
            Eras::Modern => modern.into(),
            Eras::Both => ProtocolVersion::KNOWN_VERSIONS.into(),
        }
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut names = vec!["echo", "ask", "all", "progress", "log", "touch", "change", "hang", "hanging"];
        names.extend(self.shared.changed.load(Relaxed).then_some("added"));
        let schema = json!({"type": "object"}).as_object().unwrap().clone();
        let tools = names.into_iter().map(|name| Tool::new(name, name, schema.clone())).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::default())
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Answer {
        let arguments = json!(request.arguments);
        let answers = request.input_responses.as_ref();
        let is_modern = context.protocol_version().is_some_and(|version| version.as_str() >= "2026-07-28");
        match &*request.name {
            "echo" => text(arguments["message"].as_str().unwrap()),
            "ask" => self.ask(arguments["who"].as_str().unwrap(), answers, &context, is_modern).await,
            "all" => self.all(answers, &context, is_modern).await,
            "progress" => self.progress(arguments["count"].as_u64().unwrap(), &context).await,
            "log" => self.log(&context, is_modern).await,
            "touch" => self.touch().await,
            "change" => self.change(&context, is_modern).await,
            "hang" => self.hang(&context).await,
            "hanging" => text(self.shared.hanging.load(Relaxed).to_string()),
            name => Err(ErrorData::invalid_params(format!("no tool {name}"), None)),
        }
    }

    async fn set_level(&self, request: SetLevelRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        *self.shared.level.lock().unwrap() = Some(request.level);
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.shared.watchers.lock().unwrap().push(context.peer);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.shared.listeners.lock().unwrap().push(context.sink().clone());
        context.cancelled().await;
        Ok(())
    }
}
