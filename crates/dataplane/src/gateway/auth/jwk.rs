//! Public keys of a JWKS (RFC 7517): RSA for RS256, P-256 for ES256, Ed25519 for EdDSA. No others, and no
//! shared secrets: whoever can read the table could sign with them.

use base64::prelude::{Engine, BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    RsaPublicKeyComponents, UnparsedPublicKey, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
};
use serde_json::{Map, Value};

/// A key that can verify.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// The keys of a set that can be used; those for other purposes and algorithms are passed over.
    pub(super) fn set(set: &Map<String, Value>, at: &str) -> Result<Vec<Self>, String> {
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| format!("{at}: must be a JWKS, an object with a list \"keys\"."))?;
        let mut usable = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            usable.extend(Self::one(key).map_err(|problem| format!("{at}.keys[{index}]: {problem}"))?);
        }
        if usable.is_empty() {
            return Err(format!("{at}: has no RSA, P-256 or Ed25519 key that may sign."));
        }
        Ok(usable)
    }

    fn one(key: &Value) -> Result<Option<Self>, String> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            let text = text(name).ok_or_else(|| format!("{name} is missing."))?;
            BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("{name} is no base64url."))
        };
        let coordinate = |name: &str| match bytes(name)? {
            bytes if bytes.len() == 32 => Ok(bytes),
            bytes => Err(format!("{name} must have 32 bytes, got {}.", bytes.len())),
        };
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Ok(None);
        }
        let material = match (text("kty"), text("crv"), text("alg")) {
            (Some("RSA"), _, None | Some("RS256")) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                if n.len() < 256 {
                    return Err(format!("an RSA key must have at least 2048 bits, got {}.", n.len() * 8));
                }
                Material::Rsa { n, e }
            }
            (Some("EC"), Some("P-256"), None | Some("ES256")) => {
                let mut point = vec![4]; // uncompressed (SEC 1, 2.3.3)
                point.extend(coordinate("x")?);
                point.extend(coordinate("y")?);
                Material::P256(point)
            }
            (Some("OKP"), Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                Material::Ed25519(coordinate("x")?)
            }
            (Some("oct"), ..) => {
                return Err("is a shared secret, which is not taken. Use RSA, P-256 or Ed25519.".to_owned())
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { id: text("kid").map(str::to_owned), material }))
    }

    /// Whether it is a key for this algorithm: the token's header does not choose how a key is used.
    pub(super) fn is_for(&self, algorithm: &str) -> bool {
        matches!(
            (&self.material, algorithm),
            (Material::Rsa { .. }, "RS256") | (Material::P256(_), "ES256") | (Material::Ed25519(_), "EdDSA")
        )
    }

    /// Whether there are keys for this algorithm.
    pub(super) fn may_be_for(algorithm: &str) -> bool {
        matches!(algorithm, "RS256" | "ES256" | "EdDSA")
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}
