//! Which certificate clients see, by the name that they ask for, and what a change of it does to them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{echo, read_reply, Reply, Running, Setup, PATIENCE};
use modelport_dataplane::certificate::self_signed;
use rcgen::{CertificateParams, KeyPair};
use ring::digest::{digest, SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
};
use serde_json::{json, Value};
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

/// A pair that serves these names, and its certificate.
fn pair(names: &[&str]) -> (String, CertificateDer<'static>) {
    let made = self_signed(names.iter().map(|&name| name.to_owned()).collect(), 2).unwrap();
    let certificate = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
    (made.certificate + &made.key, certificate)
}

/// The same with a key of this kind.
fn pair_of(kind: &'static rcgen::SignatureAlgorithm, name: &str) -> (String, CertificateDer<'static>) {
    let key = KeyPair::generate_for(kind).unwrap();
    let made = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.pem() + &key.serialize_pem(), made.der().clone())
}

/// Puts a pair where the gateway looks for it; its name there.
fn put(folder: &Path, content: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    let name = hash.as_ref().iter().fold(String::new(), |all, byte| all + &format!("{byte:02x}"));
    std::fs::create_dir_all(folder.join("certificates")).unwrap();
    std::fs::write(folder.join("certificates").join(&name), content).unwrap();
    name
}

fn name(host: &str, files: &[&String]) -> Value {
    let certificates: Vec<_> =
        files.iter().map(|file| json!({"secret": "kserve/shop", "file": file})).collect();
    json!({"listener": "kserve/g/l", "host": host, "certificates": certificates})
}

/// A gateway whose own certificate is for `own.example.com`, and that certificate.
fn start() -> (Running, CertificateDer<'static>) {
    let mut setup = Setup::new();
    let (content, own) = pair(&["own.example.com"]);
    let file = setup.folder.join("own.pem");
    std::fs::write(&file, content).unwrap();
    let (certificate, key) = (file.clone(), file);
    setup.config.tls = Some(modelport_dataplane::listen::TlsFiles { certificate, key, client_ca: None });
    (setup.start(), own)
}

/// Takes every certificate, but checks signatures: of these kinds.
#[derive(Debug)]
struct Open(Vec<SignatureScheme>);

impl ServerCertVerifier for Open {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const P384: SignatureScheme = SignatureScheme::ECDSA_NISTP384_SHA384;
const ED25519: SignatureScheme = SignatureScheme::ED25519;

fn client(schemes: &[SignatureScheme]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Open(schemes.to_vec())))
        .with_no_client_auth();
    Arc::new(config)
}

struct Tls(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Tls {
    /// A client that asks for a name, or for none where it is an address, after the handshake.
    fn connect(running: &Running, name: &str, schemes: &[SignatureScheme]) -> Self {
        Self::with(&client(schemes), running, name)
    }

    /// The same with a client that remembers its sessions.
    fn with(config: &Arc<ClientConfig>, running: &Running, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let stream = TcpStream::connect(running.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self(BufReader::new(stream))
    }

    fn seen(&self) -> CertificateDer<'static> {
        self.0.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn get(&mut self, path: &str) -> Reply {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nhost: a.shop.example\r\n\r\n").unwrap();
        read_reply(&mut self.0, "GET").unwrap()
    }
}

fn seen(running: &Running, name: &str) -> CertificateDer<'static> {
    Tls::connect(running, name, &[P256, P384, ED25519]).seen()
}

#[test]
fn the_name_that_is_asked_for_decides() {
    let (running, own) = start();
    assert_eq!(seen(&running, "a.shop.example"), own);
    let (exact, exact_seen) = pair(&["a.shop.example"]);
    let (wild, wild_seen) = pair(&["*.shop.example"]);
    let (all, all_seen) = pair(&["elsewhere.example"]);
    let [exact, wild, all] = [exact, wild, all].map(|content| put(&running.folder, &content));
    running.tell(json!({"tls": [name("*.shop.example", &[&wild]), name("a.shop.example", &[&exact])]}));
    assert_eq!(seen(&running, "a.shop.example"), exact_seen);
    assert_eq!(seen(&running, "A.Shop.Example"), exact_seen);
    assert_eq!(seen(&running, "b.shop.example"), wild_seen);
    // One label, as in the certificate itself; without a name, or for another one, the gateway's own.
    for other in ["a.b.shop.example", "shop.example", "unknown.example", "127.0.0.1"] {
        assert_eq!(seen(&running, other), own, "{other}");
    }
    // A listener for all names stands back where the gateway's own is good.
    running.tell(json!({"tls": [name("*", &[&all]), name("a.shop.example", &[&exact])]}));
    assert_eq!(seen(&running, "unknown.example"), all_seen);
    assert_eq!(seen(&running, "b.shop.example"), all_seen);
    assert_eq!(seen(&running, "a.shop.example"), exact_seen);
    assert_eq!(seen(&running, "own.example.com"), own);
    assert_eq!(seen(&running, "127.0.0.1"), own);
    running.tell(json!({}));
    assert_eq!(seen(&running, "a.shop.example"), own);
}

#[test]
fn of_several_the_client_gets_one_that_it_can_check() {
    let (running, _) = start();
    let (first, first_seen) = pair_of(&rcgen::PKCS_ED25519, "a.shop.example");
    let (second, second_seen) = pair_of(&rcgen::PKCS_ECDSA_P256_SHA256, "a.shop.example");
    let (stranger, _) = pair_of(&rcgen::PKCS_ED25519, "else.example");
    let [first, second, stranger] = [first, second, stranger].map(|content| put(&running.folder, &content));
    running.tell(json!({"tls": [name("a.shop.example", &[&stranger, &first, &second])]}));
    let ask = |schemes: &[SignatureScheme]| Tls::connect(&running, "a.shop.example", schemes).seen();
    assert_eq!(ask(&[P256, ED25519]), first_seen, "the first that fits the name");
    assert_eq!(ask(&[P256]), second_seen);
    assert_eq!(ask(&[ED25519]), first_seen);
}

#[test]
fn a_new_certificate_harms_no_connection_and_no_request() {
    let upstream = echo();
    let (running, _) = start();
    let mut table = gateway_support::simple(&[upstream.address], json!({}));
    let mut rotate = |content: &str| {
        table["tls"] = json!([name("a.shop.example", &[&put(&running.folder, content)])]);
        running.tell(table.clone());
    };
    let (content, before) = pair(&["a.shop.example"]);
    rotate(&content);
    let mut open = Tls::connect(&running, "a.shop.example", &[P256]);
    assert_eq!(open.seen(), before);
    let (over, shakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let mut client = Tls::connect(&running, "a.shop.example", &[P256]);
                    for _ in 0..3 {
                        assert_eq!(client.get("/new").status, 200);
                    }
                    shakes.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut last = before.clone();
        for _ in 0..20 {
            let (content, new) = pair(&["a.shop.example"]);
            rotate(&content);
            assert_eq!(seen(&running, "a.shop.example"), new);
            assert_eq!(open.get("/kept").status, 200);
            last = new;
        }
        assert_ne!(last, before);
        over.store(true, Ordering::SeqCst);
    });
    assert!(shakes.load(Ordering::SeqCst) > 0);
}

/// A client that comes back is shown no certificate: it would go on with one that was revoked, or has ended.
#[test]
fn sessions_are_resumed_until_the_certificate_is_another() {
    let upstream = echo();
    let (running, _) = start();
    let client = client(&[P256]);
    let mut table = gateway_support::simple(&[upstream.address], json!({}));
    let mut tell = |content: &str, timeout: &str| {
        table["tls"] = json!([name("a.shop.example", &[&put(&running.folder, content)])]);
        table["routes"][0]["name"] = json!(timeout);
        running.tell(table.clone());
    };
    let visit = || {
        let mut one = Tls::with(&client, &running, "a.shop.example");
        assert_eq!(one.get("/").status, 200); // a session comes before the answer
        (one.0.get_ref().conn.handshake_kind().unwrap(), one.seen())
    };
    let (first, first_seen) = pair(&["a.shop.example"]);
    tell(&first, "one");
    assert_eq!(visit(), (HandshakeKind::Full, first_seen.clone()));
    tell(&first, "two");
    assert_eq!(visit(), (HandshakeKind::Resumed, first_seen), "another route ends no session");
    let (second, second_seen) = pair(&["a.shop.example"]);
    tell(&second, "two");
    assert_eq!(visit(), (HandshakeKind::Full, second_seen));
}

#[test]
fn a_table_whose_certificate_cannot_be_used_is_refused_with_words() {
    let (running, own) = start();
    let (content, good_seen) = pair(&["a.shop.example"]);
    let good = put(&running.folder, &content);
    let in_force = running.tell(json!({"tls": [name("a.shop.example", &[&good])]}));
    let refused = |tls: Value| {
        running.write(99, json!({ "tls": tls }));
        let reply = running.ask("POST", "/reload");
        assert_eq!((reply.status, reply.json()["version"].as_u64()), (422, Some(in_force)));
        assert_eq!(seen(&running, "a.shop.example"), good_seen);
        let words = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(!words.contains("PRIVATE KEY"), "{words}");
        words
    };
    let missing = "0".repeat(64);
    let words = refused(json!([name("b.example", &[&missing])]));
    assert!(words.contains("tls (kserve/shop)") && words.contains("No such file"), "{words}");
    let (other, _) = pair(&["a.shop.example"]);
    let (certificate, _) = content.split_once("-----BEGIN PRIVATE").unwrap();
    let (_, key) = other.split_once("-----BEGIN PRIVATE").unwrap();
    let mixed = put(&running.folder, &format!("{certificate}-----BEGIN PRIVATE{key}"));
    let words = refused(json!([name("b.example", &[&mixed])]));
    assert!(words.contains("tls.key: does not fit"), "{words}");
    let torn = put(&running.folder, &other);
    std::fs::write(running.folder.join("certificates").join(&torn), &other[..200]).unwrap();
    let words = refused(json!([name("b.example", &[&torn])]));
    assert!(words.contains("its content is not that which it is named by"), "{words}");
    for (host, words) in [
        ("", "tls[0] (kserve/g/l).host: must be a name in lower case, *.name or *"),
        ("a.*", "must be a name in lower case"),
        ("A.example", "must be a name in lower case"),
    ] {
        let said = refused(json!([name(host, &[&good])]));
        assert!(said.contains(words), "{said}");
    }
    let said = refused(json!([name("a.b", &[&good]), name("a.b", &[&good])]));
    assert!(said.contains("tls[1] (kserve/g/l).host: \"a.b\" stands here twice"), "{said}");
    assert!(refused(json!([name("a.b", &[])])).contains("certificates: is empty"));
    let outside = "../own.pem".to_owned();
    let said = refused(json!([name("a.b", &[&outside])]));
    assert!(said.contains("file must be 64 hexadecimal digits"), "{said}");
    assert_eq!(seen(&running, "b.example"), own);
}
