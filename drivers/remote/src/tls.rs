//! TLS towards the other side: libvirt's files, and its rules about whose certificate is good.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::place::Place;

const SYSTEM_CA: &str = "/etc/pki/CA/cacert.pem";
const SYSTEM_CRL: &str = "/etc/pki/CA/cacrl.pem";
const SYSTEM_CERT: &str = "/etc/pki/libvirt/clientcert.pem";
const SYSTEM_KEY: &str = "/etc/pki/libvirt/private/clientkey.pem";

/// The files that decide whom we believe and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub ca: PathBuf,
    pub crl: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

fn rpc(detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::SYSTEM_ERROR, detail).in_domain(ErrorDomain::RPC)
}

/// What went wrong, in words that say whose certificate it was.
pub(crate) fn explain(error: &rustls::Error) -> VirtError {
    let detail = match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!("authentication failed: the server's certificate is not good: {reason}")
        }
        rustls::Error::AlertReceived(alert) => {
            format!("TLS handshake failed: the server refused us: {alert:?}")
        }
        other => format!("TLS handshake failed: {other}"),
    };
    rpc(detail)
}

impl Files {
    fn in_folder(folder: &Path) -> Self {
        Self {
            ca: folder.join("cacert.pem"),
            crl: folder.join("cacrl.pem"),
            cert: folder.join("clientcert.pem"),
            key: folder.join("clientkey.pem"),
        }
    }

    fn of_system() -> Self {
        Self {
            ca: SYSTEM_CA.into(),
            crl: SYSTEM_CRL.into(),
            cert: SYSTEM_CERT.into(),
            key: SYSTEM_KEY.into(),
        }
    }

    /// The files of the folder that was named; else the user's as far as they exist, and the system's.
    pub fn locate(named: Option<&Path>, user: Option<&Path>) -> Self {
        if let Some(folder) = named {
            return Self::in_folder(folder);
        }
        let mut files = Self::of_system();
        let Some(user) = user else { return files };
        let own = Self::in_folder(user);
        if own.ca.exists() {
            files.ca = own.ca;
        }
        if own.crl.exists() {
            files.crl = own.crl;
        }
        // Neither is good for anything without the other.
        if own.cert.exists() && own.key.exists() {
            (files.cert, files.key) = (own.cert, own.key);
        }
        files
    }

    fn for_this_user(named: Option<&str>) -> Self {
        let user = (!nix::unistd::geteuid().is_root())
            .then(|| std::env::var_os("HOME"))
            .flatten()
            .map(|home| Path::new(&home).join(".pki/libvirt"));
        Self::locate(named.map(Path::new), user.as_deref())
    }
}

fn unreadable(what: &str, path: &Path, why: impl std::fmt::Display) -> VirtError {
    rpc(format_args!("Cannot read {what} '{}': {why}", path.display()))
}

/// What stopped the reading of a file of certificates: the file itself, or what is in it.
fn unreadable_pem(what: &str, path: &Path, error: pem::Error) -> VirtError {
    match error {
        pem::Error::Io(error) => {
            VirtError::io(&error, format_args!("Cannot read {what} '{}'", path.display()))
                .in_domain(ErrorDomain::RPC)
        }
        error => unreadable(what, path, error),
    }
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(found) if found.is_empty() => Err(unreadable(what, path, "no certificate is in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable_pem(what, path, error)),
    }
}

/// The versions that a priority in GnuTLS's words leaves. Ciphers are the library's own choice, all of them strong.
fn versions(priority: &str) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let (mut old, mut new) = (true, true);
    for word in priority
        .split([':', ','])
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let (on, name) = match word.split_at_checked(1) {
            Some(("+", name)) => (true, name),
            Some(("-" | "!", name)) => (false, name),
            _ => (true, word),
        };
        match name.to_ascii_uppercase().as_str() {
            "VERS-ALL" | "VERS-TLS-ALL" => (old, new) = (on, on),
            "VERS-TLS1.2" => old = on,
            "VERS-TLS1.3" => new = on,
            // Older versions are off whatever is said.
            "NORMAL" | "SECURE128" | "SECURE192" | "SECURE256" | "PFS" | "@SYSTEM" | "@LIBVIRT" => {}
            name if name.starts_with("VERS-") => {}
            _ => tracing::warn!("'{word}' in tls_priority has no effect: only versions of TLS can be chosen"),
        }
    }
    let mut left = Vec::new();
    if new {
        left.push(&version::TLS13);
    }
    if old {
        left.push(&version::TLS12);
    }
    if left.is_empty() {
        return Err(rpc(format_args!(
            "Failed to set TLS session priority to {priority}: it leaves neither TLS 1.2 nor 1.3"
        )));
    }
    Ok(left)
}

/// A session to begin towards a place.
pub(crate) fn session(place: &Place, priority: Option<&str>) -> Result<ClientConnection> {
    let files = Files::for_this_user(place.pki_path.as_deref());
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in certificates("CA certificate", &files.ca)? {
        roots
            .add(ca)
            .map_err(|error| unreadable("CA certificate", &files.ca, error))?;
    }
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    if files.crl.exists() {
        let lists: std::result::Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_file_iter(&files.crl).and_then(Iterator::collect);
        let lists =
            lists.map_err(|error| unreadable_pem("CA certificate revocation list", &files.crl, error))?;
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    let verifier = Verifier {
        inner: builder
            .build()
            .map_err(|error| unreadable("CA certificate", &files.ca, error))?,
        provider: Arc::clone(&provider),
        verify: place.verify,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(priority.unwrap_or("NORMAL"))?)
        .map_err(|error| explain(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = if files.cert.exists() && files.key.exists() {
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unreadable_pem("client key", &files.key, error))?;
        config
            .with_client_auth_cert(certificates("client certificate", &files.cert)?, key)
            .map_err(|error| unreadable("client certificate", &files.cert, error))?
    } else {
        // The server says whether it wants to know.
        config.with_no_client_auth()
    };
    let host = place.hostname();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| rpc(format_args!("'{host}' is no name that a certificate could have")))?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| explain(&error))
}

/// The common rules, and libvirt's two exceptions: `no_verify`, and a certificate without alternative names, which is
/// for the host in its subject.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    verify: bool,
}

/// Whether the certificate has no alternative names and its subject's common name is the host.
fn is_for_common_name(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    if !matches!(parsed.subject_alternative_name(), Ok(None)) {
        return false;
    }
    let host = host.to_str();
    parsed
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok())
        .any(|name| matches_host(name, &host))
}

/// Whether a name is the host's; `*.example.org` is for one label more.
fn matches_host(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => {
            !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if !self.verify {
            return Ok(ServerCertVerified::assertion());
        }
        match self.inner.verify_server_cert(certificate, chain, host, ocsp, now) {
            // The chain was good, or the error would be about it.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if is_for_common_name(certificate, host) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_wins_and_the_users_files_come_before_the_systems() {
        let folder = tempfile::tempdir().unwrap();
        let named = Files::locate(Some(Path::new("/pki")), Some(folder.path()));
        assert_eq!(named.key, Path::new("/pki/clientkey.pem"));
        let own = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        own("cacert.pem");
        own("clientcert.pem");
        let files = Files::locate(None, Some(folder.path()));
        assert_eq!(files.ca, folder.path().join("cacert.pem"));
        assert_eq!((files.cert, files.crl), (SYSTEM_CERT.into(), SYSTEM_CRL.into()));
        own("clientkey.pem");
        let files = Files::locate(None, Some(folder.path()));
        assert_eq!(files.cert, folder.path().join("clientcert.pem"));
        assert_eq!(Files::locate(None, None), Files::of_system());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_the_systems_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cacert.pem");
        let error = certificates("CA certificate", &path).unwrap_err();
        assert_eq!(
            (error.code(), error.domain()),
            (ErrorCode::SYSTEM_ERROR, ErrorDomain::RPC)
        );
        let wanted = format!(
            "Cannot read CA certificate '{}': No such file or directory",
            path.display()
        );
        assert_eq!(error.message(), wanted);
        std::fs::write(&path, "none").unwrap();
        let error = certificates("CA certificate", &path).unwrap_err();
        assert_eq!(error.code(), ErrorCode::SYSTEM_ERROR);
        assert!(error.message().contains("no certificate is in it"), "{error}");
    }

    #[test]
    fn priorities_choose_versions() {
        let count = |priority| versions(priority).map(|left| left.len());
        assert_eq!(count("NORMAL").unwrap(), 2);
        assert_eq!(count("NORMAL:-VERS-TLS1.2").unwrap(), 1);
        assert_eq!(count("NORMAL:-VERS-ALL:+VERS-TLS1.3").unwrap(), 1);
        assert!(count("NORMAL:-VERS-ALL").is_err());
    }

    #[test]
    fn common_names_match_as_names_do() {
        assert!(matches_host("Host.example.org", "host.EXAMPLE.org"));
        assert!(matches_host("*.example.org", "host.example.org"));
        assert!(!matches_host("*.example.org", "a.b.example.org"));
        assert!(!matches_host("*.org", "example.org"));
        assert!(!matches_host("other", "host"));
    }
}
