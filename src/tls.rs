//! TLS, at both ends: the server's certificate, which can be exchanged while it runs, and what the command line trusts.
//!
//! rustls with aws-lc-rs, named explicitly: nothing here depends on what the process installed as default. A command on the
//! server's own machine trusts the very certificate that the running server wrote down, whatever name it is for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::config::TlsFiles;

/// Why there is no TLS. The words name the file, and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key}: {} cannot be read: {why}", .file.display())]
    Io {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key}: {} {why}", .file.display())]
    File {
        /// The configuration's key, or the flag.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The library refuses.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
}

/// The server's certificate, as new connections are given it.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads it.
    pub(crate) fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: RwLock::new(read(files)?), files: files.clone() }))
    }

    /// Reads it again. When that fails, the old one stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let read = read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// The certificate of the server itself, in DER.
    pub(crate) fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.current().cert.first().cloned()
    }

    /// For accepting connections.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(files: &TlsFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let text = |key, file: &Path| fs::read(file).map_err(|why| TlsError::Io { key, file: file.to_owned(), why });
    let wrong = |key, file: &Path, why: String| TlsError::File { key, file: file.to_owned(), why };
    let chain = certificates("tls.cert", &files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&text("tls.key", &files.key)?)
        .map_err(|_| wrong("tls.key", &files.key, "holds no private key in PEM".into()))?;
    let key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|why| wrong("tls.key", &files.key, format!("does not go with the certificate: {why}")))?;
    Ok(Arc::new(key))
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = fs::read(file).map_err(|why| TlsError::Io { key, file: file.to_owned(), why })?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsError::File { key, file: file.to_owned(), why: "holds no certificate in PEM".into() }),
    }
}

/// Whom the command line trusts.
#[derive(Debug, Clone, Default)]
pub(crate) enum Trust {
    /// Whom this machine trusts.
    #[default]
    System,
    /// Certificates signed by one in this file.
    Authority(PathBuf),
    /// This certificate and no other.
    Certificate(CertificateDer<'static>),
}

/// For connecting to a server.
pub(crate) fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Certificate(leaf) => {
            let algorithms = provider().signature_verification_algorithms;
            let pinned = Arc::new(Pinned { leaf: leaf.clone(), algorithms });
            return Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()));
        }
        Trust::Authority(file) => {
            for certificate in certificates("--ca", file)? {
                roots.add(certificate)?;
            }
        }
        Trust::System => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Takes one certificate, of whoever proves to have its key.
#[derive(Debug)]
struct Pinned {
    leaf: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.leaf {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
