//! An identity service with keys of its own: signs tokens, and serves its key set over HTTP or HTTPS, well or badly.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertifiedKey, KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::token::seconds_from_now;

/// A pair of keys with a name.
pub struct Key {
    kid: String,
    pair: KeyPair,
}

impl Key {
    pub fn new(kid: &str) -> Key {
        let pair = KeyPair::generate().expect("a P-256 key");
        Key {
            kid: kid.to_owned(),
            pair,
        }
    }

    /// As it stands in a key set.
    pub fn jwk(&self) -> Value {
        // 4, then x and y.
        let point = self.pair.der_bytes();
        let (x, y) = point[1..].split_at(32);
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": text(x), "y": text(y)})
    }

    /// A good token of this key, as `auth` has it.
    pub fn auth(&self, user: &str) -> Value {
        json!({"token": self.sign(&json!({"sub": user, "exp": seconds_from_now(3_600)}))})
    }

    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).expect("a P-256 key");
        jsonwebtoken::encode(&header, claims, &key).expect("claims are JSON")
    }
}

/// A key set of these keys.
pub fn key_set(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// What the issuer answers.
#[derive(Clone)]
pub enum Answer {
    Document(String),
    /// Nothing, while the connection stands.
    Silence,
    Status(u16),
    /// Two MiB of JSON.
    Huge,
    RedirectToItself,
    RedirectTo(String),
}

/// A running service; ends with its handle.
pub struct Issuer {
    pub url: String,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicU64>,
    server: AbortHandle,
    _directory: tempfile::TempDir,
    /// The authority that signed its certificate.
    pub authority: PathBuf,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Issuer {
    pub async fn http(answer: Answer) -> Issuer {
        Issuer::start(answer, false).await
    }

    pub async fn https(answer: Answer) -> Issuer {
        Issuer::start(answer, true).await
    }

    async fn start(answer: Answer, is_secure: bool) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let authority = directory.path().join("authority.pem");
        std::fs::write(&authority, cert.pem()).expect("a file");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("the key is the certificate's");
        let acceptor = is_secure.then(|| TlsAcceptor::from(Arc::new(config)));
        let (answer, fetches) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicU64::new(0)));
        let (answers, counted) = (Arc::clone(&answer), Arc::clone(&fetches));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("the listener stands");
                let (acceptor, answers, counted) = (acceptor.clone(), Arc::clone(&answers), Arc::clone(&counted));
                tokio::spawn(async move {
                    match acceptor {
                        // A client that does not believe the certificate goes away.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &answers, &counted).await;
                            }
                        }
                        None => serve(stream, &answers, &counted).await,
                    }
                });
            }
        });
        let scheme = if is_secure { "https" } else { "http" };
        Issuer {
            url: format!("{scheme}://localhost:{port}/keys"),
            answer,
            fetches,
            server: server.abort_handle(),
            _directory: directory,
            authority,
        }
    }

    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().expect("no holder panics") = answer;
    }

    /// Requests so far.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &Mutex<Answer>, fetches: &AtomicU64) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    fetches.fetch_add(1, Ordering::Relaxed);
    let answer = answer.lock().expect("no holder panics").clone();
    let (head, body) = match answer {
        Answer::Silence => return std::future::pending().await,
        Answer::Document(text) => ("200 OK\r\ncache-control: public, max-age=5".to_owned(), text),
        Answer::Status(status) => (format!("{status} Sorry"), String::new()),
        Answer::Huge => ("200 OK".to_owned(), format!("[\"{}\"]", "x".repeat(2 * 1024 * 1024))),
        Answer::RedirectToItself => ("302 Found\r\nlocation: /keys".to_owned(), String::new()),
        Answer::RedirectTo(url) => (format!("302 Found\r\nlocation: {url}"), String::new()),
    };
    let length = body.len();
    let response = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // A client that has read enough goes away.
    if stream.write_all(response.as_bytes()).await.is_ok() {
        drop(stream.shutdown().await);
    }
}
