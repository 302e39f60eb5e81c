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
    blocking::{Connection, connection::Builder},
    interface,
    message::Header,
    zvariant::{ObjectPath, OwnedValue, Value},
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
        let service = Service { windows: windows.clone() };
        let connection = Builder::address(address)
            .and_then(|builder| builder.serve_at("/org/gnome/keyring/Prompter", service))
            .and_then(|builder| builder.name("org.gnome.keyring.SystemPrompter"))
            .and_then(Builder::build)
            .unwrap();
        Self { windows, connection }
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
    let properties = HashMap::<&str, Value<'_>>::new();
    connection
        .call_method(Some(client), callback, Some(CALLBACK), "PromptReady", &(reply, properties, exchange))
        .unwrap();
}

struct Service {
    windows: Arc<Mutex<Vec<Window>>>,
}

#[interface(name = "org.gnome.keyring.internal.Prompter")]
impl Service {
    async fn begin_prompting(
        &self,
        callback: ObjectPath<'_>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
    ) {
        let (client, callback) = (header.sender().unwrap().to_string(), callback.to_string());
        let connection = Connection::from(connection.clone());
        // After the answer to this call.
        std::thread::spawn(move || call_back(&connection, &client, &callback, "", &begun()));
    }

    async fn perform_prompt(
        &self,
        callback: ObjectPath<'_>,
        kind: String,
        properties: HashMap<String, OwnedValue>,
        exchange: String,
        #[zbus(header)] header: Header<'_>,
    ) {
        assert_eq!(kind, "password", "{properties:?}");
        let text = |name: &str| {
            properties.get(name).and_then(|value| String::try_from(value.clone()).ok()).unwrap_or_default()
        };
        self.windows.lock().unwrap().push(Window {
            client: header.sender().unwrap().to_string(),
            callback: callback.to_string(),
            exchange,
            title: text("title") + text("message").as_str(),
        });
    }

    async fn stop_prompting(
        &self,
        callback: ObjectPath<'_>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
    ) {
        let (client, callback) = (header.sender().unwrap().to_string(), callback.to_string());
        let connection = Connection::from(connection.clone());
        std::thread::spawn(move || {
            // The client may be gone.
            let _ = connection.call_method(Some(&client[..]), &callback[..], Some(CALLBACK), "PromptDone", &());
        });
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
