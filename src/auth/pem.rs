//! Public keys in PEM, and what kind each is.
//!
//! The kind decides which algorithms a token may be signed with; what the token's header says only chooses among them.

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Algorithms of RSA keys.
pub(super) const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
/// The smallest RSA key, bits.
pub(super) const RSA_BITS_MIN: usize = 2048;

/// Bytes of a SubjectPublicKeyInfo beside an RSA modulus: two sequences, the algorithm, a bit string, the exponent.
const RSA_AROUND: usize = 32;

/// What kinds of keys begin with, inside their AlgorithmIdentifier.
const KINDS: &[(&[u8], Kind)] = &[
    // rsaEncryption 1.2.840.113549.1.1.1
    (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], Kind::Rsa),
    // id-ecPublicKey 1.2.840.10045.2.1, prime256v1 1.2.840.10045.3.1.7
    (
        &[
            0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
            0x07,
        ],
        Kind::P256,
    ),
    // id-ecPublicKey, secp384r1 1.3.132.0.34
    (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], Kind::P384),
    // id-Ed25519 1.3.101.112
    (&[0x06, 0x03, 0x2b, 0x65, 0x70], Kind::Ed25519),
];

#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// Reads the first `PUBLIC KEY`: the key, and the algorithms that it is for.
pub(super) fn public_key(text: &[u8]) -> Result<(DecodingKey, &'static [Algorithm]), &'static str> {
    let marked = |mark: &str| text.windows(mark.len()).any(|window| window == mark.as_bytes());
    if marked("PRIVATE KEY") {
        return Err("holds a private key: give the public one (`openssl pkey -in KEY -pubout`)");
    }
    if marked("BEGIN RSA PUBLIC KEY") {
        return Err("holds a PKCS#1 key: convert it (`openssl rsa -RSAPublicKey_in -in KEY -pubout`)");
    }
    if marked("BEGIN CERTIFICATE") {
        return Err("holds a certificate: give its public key (`openssl x509 -in CERT -pubkey -noout`)");
    }
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| "holds no PUBLIC KEY in PEM")?;
    let spki = spki.as_ref();
    let algorithm = inside(spki).and_then(inside).ok_or("holds a PUBLIC KEY that is malformed")?;
    let kind = KINDS.iter().find(|(prefix, _)| algorithm.starts_with(prefix)).map(|(_, kind)| *kind);
    match kind.ok_or("holds a key that is not RSA, P-256, P-384 or Ed25519")? {
        Kind::Rsa if spki.len() < RSA_BITS_MIN / 8 + RSA_AROUND => Err("holds an RSA key of less than 2048 bits"),
        Kind::Rsa => Ok((DecodingKey::from_rsa_der(spki), RSA)),
        Kind::P256 => Ok((DecodingKey::from_ec_der(spki), &[Algorithm::ES256])),
        Kind::P384 => Ok((DecodingKey::from_ec_der(spki), &[Algorithm::ES384])),
        Kind::Ed25519 => Ok((DecodingKey::from_ed_der(spki), &[Algorithm::EdDSA])),
    }
}

/// What stands inside a DER sequence.
fn inside(der: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *tag != 0x30 {
        return None;
    }
    // A long form says how many bytes of length follow.
    let follow = if *length & 0x80 == 0 { 0 } else { usize::from(length & 0x7f) };
    rest.get(follow..)
}
