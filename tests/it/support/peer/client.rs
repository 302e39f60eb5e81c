//! A client on rmcp, of either era, that goes through a plan's steps as the drivers in tests/fixtures/clients do.
#![expect(deprecated, reason = "the legacy era's own features")]

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
        CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction,
        Implementation, ListRootsResult, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
        ProtocolVersion, RequestMetaObject, ResourceUpdatedNotificationParam, SamplingMessage, ServerNotification,
        SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter,
    },
    service::{
        ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions, RequestContext,
        RunningService,
    },
    transport::TokioChildProcess,
};
use serde_json::{Value, json};

use crate::support::PATIENCE;

#[derive(Clone, Default)]
struct Client(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    progress: Vec<f64>,
    logged: Vec<String>,
    updated: Vec<String>,
    changed: usize,
}

impl Client {
    fn hear(&self, heard: impl FnOnce(&mut Heard)) {
        heard(&mut self.0.lock().unwrap());
    }

    fn look<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    /// Waits until `look` finds something.
    async fn until(&self, what: &str, look: impl Fn(&Heard) -> bool) {
        let begun = Instant::now();
        while !self.look(&look) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let capabilities =
            json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": true}});
        let capabilities: ClientCapabilities = serde_json::from_value(capabilities).unwrap();
        ClientConfig::new(capabilities, Implementation::new("rmcp", "1"))
    }

    async fn create_message(
        &self,
        request: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let content = json!(request.messages.last().unwrap().content);
        let said = [&content["text"], &content[0]["text"]].into_iter().find_map(Value::as_str).unwrap();
        let reply = SamplingMessage::assistant_text(format!("sampled {said}"));
        Ok(CreateMessageResult::new(reply, "a-model".to_owned()))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(serde_json::from_value(json!({"roots": [{"uri": "file:///a-root", "name": "a root"}]})).unwrap())
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let request = json!(request);
        let accepted = ElicitResult::new(ElicitationAction::Accept);
        if request["mode"] == "url" {
            return Ok(accepted);
        }
        Ok(accepted.with_content(json!({"name": request["message"]})))
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.progress.push(progress.progress));
    }

    async fn on_logging_message(&self, message: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.logged.push(json!(message.level).as_str().unwrap().to_owned()));
    }

    async fn on_resource_updated(&self, update: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.updated.push(update.uri));
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.changed += 1);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.changed += 1);
    }
}

type Running = RunningService<RoleClient, Client>;

fn parameters(call: &Value, meta: Option<RequestMetaObject>) -> CallToolRequestParams {
    let name = call[0].as_str().unwrap().to_owned();
    let mut parameters = CallToolRequestParams::new(name).with_arguments(call[1].as_object().unwrap().clone());
    parameters.meta = meta;
    parameters
}

async fn call(running: &Running, step: &Value, meta: Option<RequestMetaObject>) -> String {
    let result = running.call_tool(parameters(step, meta)).await.unwrap_or_else(|error| panic!("{step}: {error}"));
    assert_ne!(result.is_error, Some(true), "{step}: {result:?}");
    let texts: Vec<_> = result.content.iter().filter_map(|part| Some(part.as_text()?.text.clone())).collect();
    texts.join("\n")
}

async fn tools(running: &Running) -> Vec<String> {
    running.list_all_tools().await.unwrap().into_iter().map(|tool| tool.name.into_owned()).collect()
}

/// Starts `serve`, goes through the steps of `plan` and reports what came of them.
pub async fn drive(serve: Command, lifecycle: ClientLifecycleMode, plan: &Value) -> Value {
    let transport = TokioChildProcess::new(tokio::process::Command::from(serve)).unwrap();
    let client = Client::default();
    let running = client.clone().serve_with_lifecycle(transport, lifecycle).await.expect("a connection");
    let version = running.peer_info().map(|server| server.protocol_version.clone());
    let is_modern = version.as_ref().is_some_and(|version| *version >= ProtocolVersion::V_2026_07_28);
    let mut report = json!({"version": version, "tools": tools(&running).await});
    for step in ["echo", "ask", "open", "sample", "roots", "all"] {
        if plan.get(step).is_some() {
            report[step] = json!(call(&running, &plan[step], None).await);
        }
    }
    if let Some(given) = plan["pair"][1].as_array() {
        let steps: Vec<Value> = given.iter().map(|given| json!([plan["pair"][0], given])).collect();
        let (first, second) = tokio::join!(call(&running, &steps[0], None), call(&running, &steps[1], None));
        report["pair"] = json!([first, second]);
    }
    if plan.get("progress").is_some() {
        call(&running, &plan["progress"], None).await;
    }
    if plan.get("log").is_some() {
        let level: LoggingLevel = serde_json::from_value(plan["level"].clone()).unwrap();
        let mut meta = RequestMetaObject::default();
        if is_modern {
            meta.set_log_level(level);
        } else if running.peer_info().is_some_and(|server| server.capabilities.logging.is_some()) {
            running.set_level(SetLevelRequestParams::new(level)).await.unwrap();
        }
        call(&running, &plan["log"], Some(meta)).await;
        let enough = usize::try_from(plan["logged"].as_u64().unwrap()).unwrap();
        client.until("a log message", |heard| heard.logged.len() >= enough).await;
    }
    let uri = plan["resource"].as_str();
    let listening = if is_modern { Some(listen(&running, uri, &client).await) } else { None };
    if let Some(uri) = uri {
        if !is_modern {
            running.subscribe(SubscribeRequestParams::new(uri)).await.unwrap();
        }
        call(&running, &plan["touch"], None).await;
        client.until("a resource's update", |heard| !heard.updated.is_empty()).await;
    }
    let before = client.look(|heard| heard.changed);
    call(&running, &plan["change"], None).await;
    client.until("a list's change", |heard| heard.changed > before).await;
    report["toolsAfter"] = json!(tools(&running).await);
    hang(&running, plan).await;
    report["hang"] = json!("given up");
    if !is_modern {
        let ping = ClientRequest::PingRequest(Default::default());
        report["ping"] = json!(running.send_request(ping).await.is_ok());
    }
    if let Some(listening) = listening {
        listening.abort();
    }
    client.look(|heard| {
        report["progress"] = json!(heard.progress);
        report["logged"] = json!(heard.logged);
        report["updated"] = json!(heard.updated);
        report["changed"] = json!(heard.changed);
    });
    running.cancel().await.unwrap();
    report
}

/// Opens a subscription and passes on to `client` what comes by it.
async fn listen(running: &Running, uri: Option<&str>, client: &Client) -> tokio::task::JoinHandle<()> {
    let mut filter = SubscriptionFilter::default();
    filter.tools_list_changed = Some(true);
    filter.resources_list_changed = Some(true);
    filter.resource_subscriptions = uri.map(|uri| vec![uri.to_owned()]);
    let mut subscription = running.listen(filter).await.expect("a subscription");
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(notification) = subscription.next().await.expect("a notification") {
            client.hear(|heard| match notification {
                ServerNotification::ResourceUpdatedNotification(update) => heard.updated.push(update.params.uri),
                _ => heard.changed += 1,
            });
        }
    })
}

/// Calls a tool that does not answer, and gives up.
async fn hang(running: &Running, plan: &Value) {
    let hanging = async |number: &str| {
        let begun = Instant::now();
        while call(running, &plan["hanging"], None).await != number {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {number} hang");
        }
    };
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(parameters(&plan["hang"], None)));
    let handle = running.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap();
    let can_tell = plan.get("hanging").is_some();
    if can_tell {
        hanging("1").await;
    } else {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    handle.cancel(Some("enough".to_owned())).await.unwrap();
    if can_tell {
        hanging("0").await;
    }
}
