//! The window in which a desktop asks for a keyring's password: a stand-in for GNOME's system prompter, which a real
//! gnome-keyring asks over the bus. It speaks gcr's exchange of secrets ("sx-aes-1") and shows nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hkdf;
use zbus::{
    Message,
    blocking::{Connection, MessageIterator, connection::Builder},
    message::Type,
    zvariant::{ObjectPath, Value},
};

use crate::support::eventually;

/// The windows on one bus. Each stays open until the person answers.
pub struct Prompter {
    windows: Arc<Mutex<Vec<Window>>>,
    connection: Connection,
}

/// An open window.
#[derive(Clone)]
struct Window {
    client: String,
    callback: String,
    /// The other side's half of the exchange.
    exchange: String,
    title: String,
}

impl Prompter {
    pub fn start(address: &str) -> Self {
        let windows: Arc<Mutex<Vec<Window>>> = Arc::default();
        let connection = Builder::address(address).and_then(Builder::build).unwrap();
        let calls = MessageIterator::from(&connection);
        connection.request_name("org.gnome.keyring.SystemPrompter").unwrap();
        let prompter = Self { windows, connection };
        let (windows, connection) = (prompter.windows.clone(), prompter.connection.clone());
        std::thread::spawn(move || calls.flatten().for_each(|call| serve(&connection, &windows, &call)));
        prompter
    }

    /// The number of windows so far.
    pub fn count(&self) -> usize {
        self.windows.lock().unwrap().len()
    }

    /// Waits for window number `number`, and returns what it says.
    pub fn title(&self, number: usize) -> String {
        self.window(number).title
    }

    /// The person types the password.
    pub fn enter(&self, number: usize, password: &str) {
        let window = self.window(number);
        self.ready(&window, "yes", &sealed(&window.exchange, password));
    }

    /// The person closes the window.
    pub fn close(&self, number: usize) {
        let window = self.window(number);
        self.ready(&window, "no", &begun());
    }

    fn window(&self, number: usize) -> Window {
        eventually("a window that asks for a password", || self.windows.lock().unwrap().get(number - 1).cloned())
    }

    fn ready(&self, window: &Window, reply: &str, exchange: &str) {
        call_back(&self.connection, &window.client, &window.callback, reply, exchange);
    }
}

const CALLBACK: &str = "org.gnome.keyring.internal.Prompter.Callback";

fn call_back(connection: &Connection, client: &str, callback: &str, reply: &str, exchange: &str) {
    // A new keyring's password is called blank below 1, however long it is. gcr wraps what a prompter says once more than
    // what it asks (gcr-system-prompt.c, update_properties_from_iter).
    let strength = Value::Value(Box::new(Value::from(1)));
    let properties = HashMap::from([("password-strength", strength)]);
    connection
        .call_method(Some(client), callback, Some(CALLBACK), "PromptReady", &(reply, properties, exchange))
        .unwrap();
}

/// The text in a property, which may be wrapped.
fn text(value: &Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Value(inner) => text(inner),
        _ => String::new(),
    }
}

/// Answers a call, and only then calls back: the caller is not ready before.
fn serve(connection: &Connection, windows: &Mutex<Vec<Window>>, call: &Message) {
    let header = call.header();
    let (Type::MethodCall, Some(member), Some(client)) = (header.message_type(), header.member(), header.sender())
    else {
        return;
    };
    let (body, client) = (call.body(), client.to_string());
    match member.as_str() {
        "BeginPrompting" => {
            let callback = body.deserialize::<ObjectPath<'_>>().unwrap().to_string();
            connection.reply(&header, &()).unwrap();
            let connection = connection.clone();
            std::thread::spawn(move || call_back(&connection, &client, &callback, "", &begun()));
        }
        "PerformPrompt" => {
            type Arguments<'a> = (ObjectPath<'a>, &'a str, HashMap<&'a str, Value<'a>>, &'a str);
            let (callback, kind, properties, exchange) = body.deserialize::<Arguments<'_>>().unwrap();
            assert_eq!(kind, "password", "{properties:?}");
            let property = |name| properties.get(name).map(text).unwrap_or_default();
            connection.reply(&header, &()).unwrap();
            windows.lock().unwrap().push(Window {
                client,
                callback: callback.to_string(),
                exchange: exchange.to_owned(),
                title: format!("{}: {}", property("title"), property("message")),
            });
        }
        "StopPrompting" => {
            let callback = body.deserialize::<ObjectPath<'_>>().unwrap().to_string();
            connection.reply(&header, &()).unwrap();
            let connection = connection.clone();
            // The client may be gone.
            std::thread::spawn(move || {
                connection.call_method(Some(&client[..]), &callback[..], Some(CALLBACK), "PromptDone", &())
            });
        }
        _ => {}
    }
}

/// The length of the exchange's prime (RFC 3526, 1536 bits), in bytes.
const PRIME: usize = 192;

/// This side's half. Its private key is 1, so that its public key is the generator, 2, and the shared secret is the other
/// side's public key: that is no secret, and needs none.
fn begun() -> String {
    format!("[sx-aes-1]\npublic={}\n", STANDARD.encode([2]))
}

/// The password for the other side (gcr's `GcrSecretExchange`).
fn sealed(exchange: &str, password: &str) -> String {
    let public = exchange.lines().find_map(|line| line.strip_prefix("public=")).unwrap();
    let public = STANDARD.decode(public).unwrap();
    let shared = [vec![0; PRIME - public.len()], public].concat();
    let mut key = [0; 16];
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&shared);
    derived.expand(&[], KeyLength).unwrap().fill(&mut key).unwrap();
    let iv = [7; 16];
    let secret =
        cbc::Encryptor::<aes::Aes128>::new(&key.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(password.as_bytes());
    format!("{}secret={}\niv={}\n", begun(), STANDARD.encode(secret), STANDARD.encode(iv))
}

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        16
    }
}
