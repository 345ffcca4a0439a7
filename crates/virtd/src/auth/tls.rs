//! The TLS server: certificates from libvirt's places, clients proved by theirs.
//!
//! [`TlsServer::new`] reads the files, [`TlsServer::acceptor`] is what tokio needs, and [`TlsServer::admit`] says after
//! the handshake who the client is; the server then writes the one byte that clients wait for ([`CONFIRMATION`]).
//! Sessions are never resumed: a client that was taken off a list must not come back with an old ticket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion, version,
};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::dn;
use crate::config::{DaemonConfig, Role};
use crate::pattern;

/// What the server writes once it has accepted the client's certificate.
pub const CONFIRMATION: [u8; 1] = [1];

/// Larger files are refused.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Which files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities.
    pub ca: PathBuf,
    /// Revoked certificates. If nobody named the file, it may be missing.
    pub crl: PathBuf,
    /// Whether the configuration names the list of revoked certificates.
    pub crl_named: bool,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// As configured, or in libvirt's places: the user's where they exist, unless the daemon runs as root; else the
    /// system's.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` if the configuration names some of authority, certificate and key, and not all.
    pub fn locate(config: &DaemonConfig, role: &Role) -> Result<Self> {
        let files = [
            ("ca_file", &config.ca_file),
            ("cert_file", &config.cert_file),
            ("key_file", &config.key_file),
        ];
        if let Some((set, _)) = files.iter().find(|(_, value)| value.is_some())
            && let Some((missing, _)) = files.iter().find(|(_, value)| value.is_none())
        {
            let error = unsupported(format_args!(
                "{set} is set and {missing} is not: certificate, key and authority are set together or not at all"
            ));
            return Err(config.blame(set, error));
        }
        let user = (!role.privileged)
            .then(|| std::env::var_os("HOME"))
            .flatten()
            .map(|home| PathBuf::from(home).join(".pki/libvirt"));
        let mine = |names: &[&str]| {
            let folder = user.as_ref()?;
            names
                .iter()
                .all(|name| folder.join(name).exists())
                .then_some(folder.as_path())
        };
        let system = |path: &str| PathBuf::from(path);
        let own = |folder: Option<&Path>, name: &str, usual: &str| {
            folder.map_or_else(|| system(usual), |f| f.join(name))
        };
        let pair = mine(&["servercert.pem", "serverkey.pem"]);
        let named = |value: &Option<String>, usual: PathBuf| value.as_ref().map_or(usual, PathBuf::from);
        Ok(Self {
            ca: named(
                &config.ca_file,
                own(mine(&["cacert.pem"]), "cacert.pem", "/etc/pki/CA/cacert.pem"),
            ),
            crl: named(
                &config.crl_file,
                own(mine(&["cacrl.pem"]), "cacrl.pem", "/etc/pki/CA/cacrl.pem"),
            ),
            crl_named: config.crl_file.is_some(),
            cert: named(
                &config.cert_file,
                own(pair, "servercert.pem", "/etc/pki/libvirt/servercert.pem"),
            ),
            key: named(
                &config.key_file,
                own(pair, "serverkey.pem", "/etc/pki/libvirt/private/serverkey.pem"),
            ),
        })
    }
}

/// What is needed to accept TLS clients.
pub struct TlsServer {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Whether clients without a good certificate are refused.
    required: bool,
    allowed: Option<Vec<String>>,
}

impl TlsServer {
    /// Reads the files and checks them.
    ///
    /// # Errors
    /// Files that are missing or wrong, a certificate that cannot be a server's, words in `tls_priority` that are not
    /// known.
    pub fn new(config: &DaemonConfig, files: &TlsFiles) -> Result<Self> {
        let provider = Arc::new(provider::default_provider());
        let of = |key: &'static str| move |error| config.blame(key, error);
        let roots = Arc::new(authorities(&files.ca).map_err(of("ca_file"))?);
        let chain = certificates(&files.cert).map_err(of("cert_file"))?;
        if !config.tls_no_sanity_certificate
            && let Some(root) = origin(&chain, files).map_err(of("cert_file"))?
        {
            check_root(&root, &files.ca).map_err(of("ca_file"))?;
        }
        let mut verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let revoked = revocations(files).map_err(of("crl_file"))?;
        if !revoked.is_empty() {
            // A list says something of the certificates of its issuer only.
            verifier = verifier.with_crls(revoked).allow_unknown_revocation_status();
        }
        let verifier = verifier.build().map_err(|error| {
            of("ca_file")(wrong(
                &files.ca,
                format_args!("clients cannot be verified with it: {error}"),
            ))
        })?;
        let required = !config.tls_no_verify_certificate;
        let asked: Arc<dyn ClientCertVerifier> = match required {
            true => Arc::clone(&verifier),
            false => Arc::new(Anybody {
                provider: Arc::clone(&provider),
            }),
        };
        let versions = versions(config.tls_priority.as_deref()).map_err(of("tls_priority"))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| {
                of("tls_priority")(unsupported(format_args!("no version of TLS is left: {error}")))
            })?
            .with_client_cert_verifier(asked)
            .with_single_cert(chain, private_key(&files.key).map_err(of("key_file"))?)
            .map_err(|error| {
                of("cert_file")(wrong(
                    &files.cert,
                    format_args!(
                        "it cannot be used with the key in '{}': {error}",
                        files.key.display()
                    ),
                ))
            })?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(server),
            verifier,
            required,
            allowed: config.tls_allowed_dn_list.clone(),
        })
    }

    /// For accepting connections.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Who the client is, once the handshake is over: the name in its certificate. `None` where certificates are not
    /// verified and this one is not good.
    ///
    /// # Errors
    /// `AUTH_FAILED` for a client that may not come in.
    pub fn admit(&self, connection: &ServerConnection) -> Result<Option<String>> {
        match self.name(connection.peer_certificates().unwrap_or_default()) {
            Ok(name) => Ok(Some(name)),
            Err(error) if self.required => Err(error),
            Err(error) => {
                tracing::info!("a client's certificate is passed over: {error}");
                Ok(None)
            }
        }
    }

    fn name(&self, chain: &[CertificateDer<'_>]) -> Result<String> {
        let refused = |what: std::fmt::Arguments<'_>| {
            VirtError::new(ErrorCode::AUTH_FAILED, what).in_domain(ErrorDomain::RPC)
        };
        let (own, between) = chain
            .split_first()
            .ok_or_else(|| refused(format_args!("the client has no certificate")))?;
        if !self.required {
            self.verifier
                .verify_client_cert(own, between, UnixTime::now())
                .map_err(|error| refused(format_args!("the client's certificate is not good: {error}")))?;
        }
        let (_, parsed) = X509Certificate::from_der(own)
            .map_err(|error| refused(format_args!("the client's certificate cannot be read: {error}")))?;
        let name = dn::format(parsed.subject());
        if !pattern::allowed(self.allowed.as_deref(), &name) {
            return Err(refused(format_args!(
                "the name '{name}' in the client's certificate is not in tls_allowed_dn_list"
            )));
        }
        Ok(name)
    }
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsServer")
            .field("required", &self.required)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// Takes any certificate or none, but only from somebody who has its key.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The versions that a priority of GnuTLS leaves. Of everything else in it, only what asks for no more than what is
/// done anyway is understood.
fn versions(priority: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let (mut tls12, mut tls13) = (true, true);
    for (index, word) in priority.unwrap_or("NORMAL").split(':').enumerate() {
        match word {
            "NORMAL" | "SECURE" | "SECURE128" | "SECURE192" | "SECURE256" | "PFS" | "SYSTEM"
                if index == 0 => {}
            // Fedora's and Debian's: whatever the host's policy says.
            word if index == 0 && word.starts_with('@') => {}
            "-VERS-ALL" | "-VERS-TLS-ALL" => (tls12, tls13) = (false, false),
            "+VERS-ALL" | "+VERS-TLS-ALL" => (tls12, tls13) = (true, true),
            "+VERS-TLS1.2" => tls12 = true,
            "+VERS-TLS1.3" => tls13 = true,
            "-VERS-TLS1.2" | "!VERS-TLS1.2" => tls12 = false,
            "-VERS-TLS1.3" | "!VERS-TLS1.3" => tls13 = false,
            // What is not done anyway.
            "-VERS-SSL3.0"
            | "-VERS-TLS1.0"
            | "-VERS-TLS1.1"
            | "-VERS-DTLS-ALL"
            | "!VERS-SSL3.0"
            | "!VERS-TLS1.0"
            | "!VERS-TLS1.1"
            | "-RSA"
            | "-DHE-RSA"
            | "-ARCFOUR-128"
            | "-3DES-CBC"
            | "-AES-128-CBC"
            | "-AES-256-CBC"
            | "-SHA1"
            | "-MD5"
            | "%SERVER_PRECEDENCE"
            | "%SAFE_RENEGOTIATION"
            | "%DISABLE_SAFE_RENEGOTIATION"
            | "%NO_TICKETS"
            | "%NO_SESSION_HASH"
            | "%COMPAT" => {}
            other => {
                return Err(unsupported(format_args!(
                    "'{other}' is not understood, expected NORMAL or SECURE and versions of TLS, as in \
                     \"NORMAL:-VERS-TLS1.2\""
                )));
            }
        }
    }
    let mut left: Vec<&'static SupportedProtocolVersion> = Vec::new();
    if tls13 {
        left.push(&version::TLS13);
    }
    if tls12 {
        left.push(&version::TLS12);
    }
    match left.is_empty() {
        true => Err(unsupported(format_args!(
            "it leaves no version of TLS, 1.2 and 1.3 are there"
        ))),
        false => Ok(left),
    }
}

fn unsupported(what: std::fmt::Arguments<'_>) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> VirtError {
    VirtError::new(
        ErrorCode::SYSTEM_ERROR,
        format_args!("TLS file '{}': {what}", path.display()),
    )
    .in_domain(ErrorDomain::RPC)
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    let io = |error: std::io::Error| {
        VirtError::io(
            &error,
            format_args!("cannot read the {what} '{}'", path.display()),
        )
    };
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(SIZE_MAX + 1).read_to_end(&mut content).map_err(io)?;
    match content.len() as u64 > SIZE_MAX {
        true => Err(wrong(path, format_args!("more than {SIZE_MAX} bytes"))),
        false => Ok(content),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let content = read(path, "server certificate")?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| wrong(path, error))?;
    match all.is_empty() {
        true => Err(wrong(path, "it holds no certificate")),
        false => Ok(all),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let content = read(path, "CA certificate")?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| wrong(path, error))?;
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(all);
    if roots.is_empty() {
        return Err(wrong(path, "it holds no certificate of an authority"));
    }
    if ignored > 0 {
        tracing::warn!(
            "{ignored} certificates in '{}' cannot be an authority's",
            path.display()
        );
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let content = read(path, "server key")?;
    PrivateKeyDer::from_pem_slice(&content)
        .map_err(|error| wrong(path, format_args!("no private key: {error}")))
}

fn revocations(files: &TlsFiles) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    // libvirt passes over a list that is named and missing; who names one wants it to hold.
    if !files.crl_named && !files.crl.exists() {
        return Ok(Vec::new());
    }
    let content = read(&files.crl, "list of revoked certificates")?;
    let all: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&content)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| wrong(&files.crl, error))?;
    match all.is_empty() {
        true => Err(wrong(&files.crl, "it holds no list of revoked certificates")),
        false => Ok(all),
    }
}

fn parsed<'d>(der: &'d [u8], path: &Path) -> Result<X509Certificate<'d>> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(wrong(
            path,
            format_args!("the certificate cannot be read: {error}"),
        )),
    }
}

/// The certificate of the authority that ours comes from, if ours can be a server's that clients of this authority believe.
fn origin(chain: &[CertificateDer<'_>], files: &TlsFiles) -> Result<Option<Vec<u8>>> {
    let Some((own, between)) = chain.split_first() else {
        return Ok(None);
    };
    let own = parsed(own, &files.cert)?;
    check_time(&own, &files.cert, "server")?;
    if let Ok(Some(constraints)) = own.basic_constraints()
        && constraints.value.ca
    {
        return Err(wrong(
            &files.cert,
            "the certificate is an authority's, one of a server is needed",
        ));
    }
    if let Ok(Some(usage)) = own.key_usage()
        && usage.critical
        && !usage.value.digital_signature()
    {
        return Err(wrong(
            &files.cert,
            "the certificate may not be used for digital signatures",
        ));
    }
    if let Ok(Some(purpose)) = own.extended_key_usage()
        && purpose.critical
        && !(purpose.value.server_auth || purpose.value.any)
    {
        return Err(wrong(
            &files.cert,
            "the certificate may not be used for a TLS server",
        ));
    }
    // Up to an authority, by way of the certificates beside ours.
    let roots = read(&files.ca, "CA certificate")?;
    let roots: Vec<_> = CertificateDer::pem_slice_iter(&roots)
        .filter_map(std::result::Result::ok)
        .collect();
    let parse = |der: &CertificateDer<'_>| -> Option<Vec<u8>> {
        X509Certificate::from_der(der)
            .is_ok()
            .then(|| der.as_ref().to_vec())
    };
    let roots: Vec<Vec<u8>> = roots.iter().filter_map(parse).collect();
    let mut at = chain.first().map(|own| own.as_ref().to_vec()).unwrap_or_default();
    let mut left: Vec<Vec<u8>> = between.iter().filter_map(parse).collect();
    loop {
        if let Some(root) = roots.iter().find(|root| issued(root, &at)) {
            return Ok(Some(root.clone()));
        }
        match left.iter().position(|next| issued(next, &at)) {
            Some(next) => at = left.swap_remove(next),
            None => {
                return Err(wrong(
                    &files.cert,
                    format_args!(
                        "the certificate does not come from an authority in '{}'",
                        files.ca.display()
                    ),
                ));
            }
        }
    }
}

fn check_root(root: &[u8], path: &Path) -> Result<()> {
    check_time(&parsed(root, path)?, path, "CA")
}

/// Whether the first certificate's owner has signed the second.
fn issued(issuer: &[u8], subject: &[u8]) -> bool {
    let (Ok((_, issuer)), Ok((_, subject))) = (
        X509Certificate::from_der(issuer),
        X509Certificate::from_der(subject),
    ) else {
        return false;
    };
    subject.issuer().as_raw() == issuer.subject().as_raw()
        && subject.verify_signature(Some(issuer.public_key())).is_ok()
}

fn check_time(certificate: &X509Certificate<'_>, path: &Path, whose: &str) -> Result<()> {
    let now = x509_parser::time::ASN1Time::now();
    let validity = certificate.validity();
    if now > validity.not_after {
        return Err(wrong(path, format_args!("the {whose} certificate has expired")));
    }
    if now < validity.not_before {
        return Err(wrong(
            path,
            format_args!("the {whose} certificate is not yet active"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
