//! Who we are, as the daemon wants to know it: nothing, polkit's opinion, or SASL.
//!
//! Names and passwords come from `auth.conf` and, for what is not there, from whoever opens the connection.

use std::path::PathBuf;
use std::sync::Arc;

use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::SASLClient;
use virt_api::host::{CredentialRequest, CredentialSource};
use virt_api::protocol::clients::RemoteClient;
use virt_api::protocol::remote::AuthType;
use virt_util::auth_file::AuthFile;
use virt_util::types::ConnectCredentialType;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::place::Place;

/// The most of one message of SASL.
const DATA_MAX: usize = 65_536;
/// More messages than any mechanism has: a daemon that always wants one more is not honest.
const STEPS_MAX: usize = 32;
/// What libvirt wants of a mechanism that encrypts by itself, in bits.
const STRENGTH_MIN: u32 = 56;

/// What the mechanisms below need to know.
pub(crate) struct Credentials<'a> {
    pub place: &'a Place,
    pub source: Option<&'a Arc<dyn CredentialSource>>,
    /// Nobody listens on the way, or it is encrypted.
    pub is_secure: bool,
}

fn failed(detail: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::AUTH_FAILED, detail).in_domain(ErrorDomain::REMOTE)
}

/// Which of the daemon's ways to take.
pub(crate) fn choose(types: &[AuthType], wanted: Option<&str>) -> Result<AuthType> {
    let Some(first) = types.first() else {
        return Ok(AuthType::NONE);
    };
    let Some(wanted) = wanted else {
        return Ok(*first);
    };
    let lower = wanted.to_ascii_lowercase();
    let kind = match lower.as_str() {
        "polkit" => AuthType::POLKIT,
        "sasl" => AuthType::SASL,
        _ if lower.starts_with("sasl.") => AuthType::SASL,
        _ => {
            return Err(failed(format_args!(
                "auth='{wanted}': expected 'none', 'polkit' or 'sasl'"
            )));
        }
    };
    if types.contains(&kind) {
        Ok(kind)
    } else {
        Err(failed(format_args!("the daemon does not offer auth='{wanted}'")))
    }
}

/// Proves who we are in the way that was chosen. `mechanisms` asks for those of SASL.
pub(crate) fn prove(
    remote: &RemoteClient<'_>,
    kind: AuthType,
    credentials: &Credentials<'_>,
    mechanisms: impl FnOnce() -> Result<String>,
) -> Result<()> {
    match kind {
        AuthType::NONE => Ok(()),
        AuthType::POLKIT => polkit(remote, credentials),
        AuthType::SASL => sasl(remote, credentials, &mechanisms()?),
        other => Err(failed(format_args!(
            "the daemon asks for authentication {}, which is unknown",
            other.0
        ))),
    }
}

fn polkit(remote: &RemoteClient<'_>, credentials: &Credentials<'_>) -> Result<()> {
    match remote.auth_polkit() {
        Ok(_) => Ok(()),
        Err(error) => ask_for_agent(remote, credentials, error),
    }
}

/// Polkit said `error`. Where it could ask somebody and nobody is there to show the question, whoever opens the
/// connection may start an agent that does, and polkit decides again.
pub(crate) fn ask_for_agent(
    remote: &RemoteClient<'_>,
    credentials: &Credentials<'_>,
    error: VirtError,
) -> Result<()> {
    let external = ConnectCredentialType::EXTERNAL.0.unsigned_abs();
    let agent = credentials
        .source
        .filter(|source| error.code() == ErrorCode::AUTH_UNAVAILABLE && source.kinds().contains(&external));
    let Some(source) = agent else {
        return Err(error);
    };
    let question = CredentialRequest {
        kind: external,
        prompt: "an agent of polkit is needed".to_owned(),
        challenge: "polkit".to_owned(),
        default: String::new(),
    };
    match source.request(&[question]) {
        Ok(_) => remote.auth_polkit().map(drop),
        // That there is no agent is what polkit has said already.
        Err(refused) if refused.code() == ErrorCode::AUTH_UNAVAILABLE => {
            Err(error.caused_by(refused.detail()))
        }
        Err(refused) => Err(refused),
    }
}

/// The file with names and passwords that applies: the environment's, the URI's, the user's, the system's.
fn auth_file(place: &Place) -> Result<Option<AuthFile>> {
    let named = std::env::var_os("LIBVIRT_AUTH_FILE")
        .map(PathBuf::from)
        .or_else(|| place.auth_file.as_ref().map(PathBuf::from));
    let path = match named {
        Some(path) => Some(path),
        None => {
            let user = if nix::unistd::geteuid().is_root() {
                None
            } else {
                let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
                base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))
                    .map(|base| base.join("libvirt/auth.conf"))
            };
            let system = PathBuf::from("/etc/libvirt/auth.conf");
            user.into_iter()
                .chain([system])
                .find(|path| std::fs::File::open(path).is_ok())
        }
    };
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|error| {
        VirtError::io(&error, format_args!("cannot open '{name}'")).in_domain(ErrorDomain::AUTH)
    })?;
    AuthFile::parse(&name, &text).map(Some)
}

/// Name and password.
fn ask(credentials: &Credentials<'_>) -> Result<(String, String)> {
    let file = auth_file(credentials.place)?;
    let host = credentials.place.uri.server.as_deref();
    let known = |name: &str| -> Result<Option<String>> {
        match &file {
            Some(file) => Ok(file.lookup("libvirt", host, name)?.map(str::to_owned)),
            None => Ok(None),
        }
    };
    let name = match known("authname")? {
        Some(name) => Some(name),
        None => known("username")?,
    };
    let password = known("password")?;
    if let (Some(name), Some(password)) = (&name, &password) {
        return Ok((name.clone(), password.clone()));
    }
    let source = credentials.source.ok_or_else(|| {
        failed("the daemon asks for a name or a password, and the program answers no questions")
    })?;
    let kinds = source.kinds();
    let kind_of = |wanted: &[ConnectCredentialType]| {
        let numbers = wanted.iter().map(|kind| kind.0.unsigned_abs());
        numbers.into_iter().find(|kind| kinds.contains(kind))
    };
    let mut questions = Vec::new();
    let mut question = |kind: Option<u32>, prompt: &str| -> Result<()> {
        let kind =
            kind.ok_or_else(|| failed("Failed to make auth credentials: nobody can be asked for them"))?;
        questions.push(CredentialRequest {
            kind,
            prompt: prompt.to_owned(),
            challenge: credentials.place.hostname().to_owned(),
            default: String::new(),
        });
        Ok(())
    };
    if name.is_none() {
        let kind = kind_of(&[ConnectCredentialType::AUTHNAME, ConnectCredentialType::USERNAME]);
        question(kind, "Please enter your authentication name")?;
    }
    if password.is_none() {
        let kind = kind_of(&[
            ConnectCredentialType::PASSPHRASE,
            ConnectCredentialType::NOECHOPROMPT,
        ]);
        question(kind, "Please enter your password")?;
    }
    let mut answers = source
        .request(&questions)
        .map_err(|error| failed("the questions of the daemon were not answered").caused_by(error.message()))?
        .into_iter();
    let mut next = || {
        answers
            .next()
            .ok_or_else(|| failed("the questions of the daemon were not answered"))
    };
    let name = name.map_or_else(&mut next, Ok)?;
    let password = password.map_or_else(&mut next, Ok)?;
    Ok((name, password))
}

/// One of SASL's ways, by its own rules.
enum Mechanism {
    /// Says everything in its first message.
    Simple { name: String, message: Vec<u8> },
    /// Goes on.
    Session(Box<rsasl::prelude::Session>),
}

/// The mechanism to use: the wanted one, or the strongest of those offered.
fn mechanism(credentials: &Credentials<'_>, offered: &str) -> Result<Mechanism> {
    let offered: Vec<&str> = offered
        .split([',', ' '])
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    let wanted = credentials.place.auth.as_deref().and_then(|auth| auth.get(5..));
    let candidates: Vec<&str> = match wanted {
        None => offered.clone(),
        Some(wanted) => {
            if !offered.contains(&wanted) {
                return Err(failed(format_args!(
                    "the daemon offers no SASL mechanism '{wanted}'"
                )));
            }
            vec![wanted]
        }
    };
    if !credentials.is_secure {
        // None of ours encrypts what follows, so nothing that the daemon could do would be enough, and no password
        // leaves us.
        return Err(failed(format_args!(
            "negotiation SSF 0 was not strong enough: {STRENGTH_MIN} bits are demanded where the connection itself is not \
             secure, and of the offered mechanisms ({}) none that is known here encrypts",
            offered.join(", ")
        ))
        .with_hint("use the transport tls, ssh or unix"));
    }
    if wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case("EXTERNAL")) {
        return Ok(Mechanism::Simple {
            name: "EXTERNAL".to_owned(),
            message: Vec::new(),
        });
    }
    let with_password = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];
    let usable: Vec<&Mechname> = candidates
        .iter()
        .filter(|name| with_password.contains(name))
        .filter_map(|name| Mechname::parse(name.as_bytes()).ok())
        .collect();
    if usable.is_empty() {
        if candidates.contains(&"ANONYMOUS") {
            return Ok(Mechanism::Simple {
                name: "ANONYMOUS".to_owned(),
                message: b"anonymous".to_vec(),
            });
        }
        return Err(failed(format_args!(
            "none of the offered SASL mechanisms is known: {}",
            offered.join(", ")
        )));
    }
    let (name, password) = ask(credentials)?;
    let config = SASLConfig::with_credentials(None, name, password)
        .map_err(|error| failed(format_args!("SASL cannot begin: {error}")))?;
    let session = SASLClient::new(config)
        .start_suggested(&usable)
        .map_err(|error| {
            failed(format_args!(
                "SASL cannot begin with {}: {error}",
                offered.join(", ")
            ))
        })?;
    Ok(Mechanism::Session(Box::new(session)))
}

fn refuse_long(data: &[u8]) -> Result<()> {
    if data.len() > DATA_MAX {
        return Err(failed(format_args!(
            "{} bytes of SASL: {DATA_MAX} at most",
            data.len()
        )));
    }
    Ok(())
}

/// One step of a mechanism: its message, if there is one, and whether that was its last.
fn step(session: &mut rsasl::prelude::Session, input: Option<&[u8]>) -> Result<(Option<Vec<u8>>, bool)> {
    let mut out = Vec::new();
    let state = session
        .step(input, &mut out)
        .map_err(|error| failed(format_args!("SASL: {error}")))?;
    refuse_long(&out)?;
    Ok((state.has_sent_message().then_some(out), state.is_finished()))
}

fn nil(message: &Option<Vec<u8>>) -> i32 {
    message.is_none().into()
}

fn sasl(remote: &RemoteClient<'_>, credentials: &Credentials<'_>, offered: &str) -> Result<()> {
    let mut session = match mechanism(credentials, offered)? {
        Mechanism::Simple { name, message } => {
            let answer = remote.auth_sasl_start(&name, 0, &message)?;
            if answer.complete != 0 {
                return Ok(());
            }
            return Err(failed(format_args!("the daemon wants more than {name} says")));
        }
        Mechanism::Session(session) => session,
    };
    let name = session.get_mechname().to_string();
    let (message, mut finished) = if session.are_we_first() {
        step(&mut session, None)?
    } else {
        (None, false)
    };
    let data = message.as_deref().unwrap_or_default();
    let answer = remote.auth_sasl_start(&name, nil(&message), data)?;
    let mut complete = answer.complete != 0;
    let mut input = (answer.nil == 0).then_some(answer.data);
    for _ in 0..STEPS_MAX {
        if complete && finished {
            return Ok(());
        }
        if finished {
            return Err(failed(format_args!("the daemon wants more than {name} has")));
        }
        // Even if the daemon says that all is well: this step makes sure that it knows the password too.
        let (message, last) = step(&mut session, input.as_deref())?;
        finished = last;
        if complete && finished {
            return Ok(());
        }
        let data = message.as_deref().unwrap_or_default();
        let answer = remote.auth_sasl_step(nil(&message), data)?;
        complete = answer.complete != 0;
        input = (answer.nil == 0).then_some(answer.data);
    }
    Err(failed(format_args!(
        "SASL is not over after {STEPS_MAX} messages"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_type_is_taken_unless_another_is_wanted() {
        let both = [AuthType::POLKIT, AuthType::SASL];
        assert_eq!(choose(&[], Some("sasl")).unwrap(), AuthType::NONE);
        assert_eq!(choose(&both, None).unwrap(), AuthType::POLKIT);
        assert_eq!(choose(&both, Some("SASL.GSSAPI")).unwrap(), AuthType::SASL);
        assert_eq!(
            choose(&both, Some("magic")).unwrap_err().code(),
            ErrorCode::AUTH_FAILED
        );
        let error = choose(&[AuthType::NONE], Some("polkit")).unwrap_err();
        assert!(
            error.message().contains("does not offer auth='polkit'"),
            "{error}"
        );
    }

    #[test]
    fn no_password_goes_over_an_open_line() {
        let place = Place::of("qemu+tcp://host/system").unwrap();
        let credentials = Credentials {
            place: &place,
            source: None,
            is_secure: false,
        };
        let Err(error) = mechanism(&credentials, "PLAIN,SCRAM-SHA-256") else {
            panic!("it was taken");
        };
        assert!(error.message().contains("SSF 0"), "{error}");
    }
}
