//! SASL on the server's side, without any I/O but the file of users.
//!
//! [`Sasl`] is what all clients share, [`Exchange`] one client's attempt. The mechanisms are rsasl's; here is what they
//! leave to the application: which are offered where, whose password it is, what an attempt may cost, and that nobody
//! learns from a refusal whether the user exists.
//!
//! No mechanism here encrypts what follows, so all have strength 0 in the sense of `tcp_min_ssf`: on plain TCP, where
//! libvirt demands encryption by SASL, nothing can be offered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA1, SCRAM_SHA256, SCRAM_SHA512};
use rsasl::mechname::Mechname;
use rsasl::prelude::{Mechanism as Implementation, Registry, SASLServer, Session, SessionError, State};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, Validation, ValidationError};

use super::passwords::{Hash, PasswordFile, Users, Verifier};
use crate::pattern;

/// The most that either side may say at once (`REMOTE_AUTH_SASL_DATA_MAX`).
pub const DATA_MAX: usize = 65_536;

/// Messages of a client before an attempt ends, whatever the mechanism thinks.
const STEPS_MAX: u32 = 8;

/// A mechanism that can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The password is proved without being told.
    Scram(Hash),
    /// The password is told.
    Plain,
}

impl Mechanism {
    /// All that there are.
    pub const ALL: [Self; 4] = [
        Self::Scram(Hash::Sha256),
        Self::Scram(Hash::Sha512),
        Self::Scram(Hash::Sha1),
        Self::Plain,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scram(hash) => hash.mechanism(),
            Self::Plain => "PLAIN",
        }
    }

    /// The mechanism of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// The strength of the encryption it sets up for what follows, in bits.
    pub fn ssf(self) -> u32 {
        0
    }
}

/// What is known of the way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Nobody else can listen: a unix socket, or TLS.
    Secure,
    /// Plain TCP.
    Open,
}

/// What all clients share.
#[derive(Debug)]
pub struct Sasl {
    /// Who there is.
    pub users: PasswordFile,
    /// What is offered, best first.
    pub mechanisms: Vec<Mechanism>,
    /// Who may come in; `None` for all.
    pub allowed: Option<Vec<String>>,
    /// The least encryption on plain TCP.
    pub min_ssf: u32,
}

impl Sasl {
    /// The mechanisms that a client on this channel may choose from.
    pub fn offer(&self, channel: Channel) -> Vec<Mechanism> {
        self.mechanisms
            .iter()
            .copied()
            .filter(|mechanism| channel == Channel::Secure || mechanism.ssf() >= self.min_ssf)
            .collect()
    }
}

/// Why an attempt failed: for the log, never for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: String,
    /// The user that was claimed and proved, if it came that far.
    pub user: Option<String>,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            user: None,
        }
    }
}

/// What the server answers to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// For the client; nothing is not the same as an empty message.
    pub data: Option<Vec<u8>>,
    /// Who the client is, when the exchange is complete.
    pub user: Option<String>,
}

/// One attempt of one client.
pub struct Exchange {
    sasl: Arc<Sasl>,
    offered: Vec<Mechanism>,
    session: Option<Session<Who>>,
    steps: u32,
}

impl Exchange {
    /// Begins; fails where nothing can be offered.
    pub fn new(sasl: Arc<Sasl>, channel: Channel) -> Result<Self, Failure> {
        let offered = sasl.offer(channel);
        if offered.is_empty() {
            return Err(Failure::new(format!(
                "no SASL mechanism can be offered: encryption of {} bits is demanded on plain TCP (tcp_min_ssf) and \
                 none of the mechanisms encrypts; use TLS",
                sasl.min_ssf
            )));
        }
        Ok(Self {
            sasl,
            offered,
            session: None,
            steps: 0,
        })
    }

    /// What the client may choose from, separated by commas.
    pub fn mechanisms(&self) -> String {
        let names: Vec<_> = self.offered.iter().map(|mechanism| mechanism.name()).collect();
        names.join(",")
    }

    /// The client has chosen, and perhaps said the first message.
    pub fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<Reply, Failure> {
        if self.session.is_some() {
            return Err(Failure::new("the exchange has started already"));
        }
        let chosen = Mechanism::from_name(mechanism)
            .filter(|chosen| self.offered.contains(chosen))
            .ok_or_else(|| {
                Failure::new(format!(
                    "mechanism '{}' was not offered",
                    mechanism.chars().take(64).collect::<String>().escape_debug()
                ))
            })?;
        let users = self
            .sasl
            .users
            .users()
            .map_err(|error| Failure::new(error.to_string()))?;
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(implementation(chosen)))
            .with_callback(Answers { users, chosen })
            .map_err(|error| Failure::new(error.to_string()))?;
        let name = Mechname::parse(chosen.name().as_bytes())
            .map_err(|_| Failure::new("the mechanism's name is none"))?;
        let session = SASLServer::<Who>::new(config)
            .start_suggested(name)
            .map_err(|error| Failure::new(error.to_string()))?;
        self.session = Some(session);
        match data {
            Some(data) => self.step(Some(data)),
            // All mechanisms here want the client to speak first: an empty question makes it.
            None => Ok(Reply {
                data: Some(Vec::new()),
                user: None,
            }),
        }
    }

    /// The client's next message.
    pub fn step(&mut self, data: Option<&[u8]>) -> Result<Reply, Failure> {
        // An attempt that failed cannot go on.
        let mut session = self
            .session
            .take()
            .ok_or_else(|| Failure::new("the exchange has not started"))?;
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Failure::new(format!("more than {STEPS_MAX} messages")));
        }
        let data = data.unwrap_or_default();
        if data.len() > DATA_MAX {
            return Err(Failure::new(format!(
                "a message of {} bytes, at most {DATA_MAX} allowed",
                data.len()
            )));
        }
        if session.get_mechname().as_str().starts_with("SCRAM") {
            check_scram(data).map_err(Failure::new)?;
        }
        let mut answer = Vec::new();
        // The library is not ours, and what it reads comes from anybody.
        let state = catch_unwind(AssertUnwindSafe(|| session.step(Some(data), &mut answer)))
            .map_err(|_| Failure::new("the mechanism panicked"))?
            .map_err(|error| Failure::new(error.to_string()))?;
        if answer.len() > DATA_MAX {
            return Err(Failure::new("the answer is too long"));
        }
        match state {
            State::Running => {
                self.session = Some(session);
                Ok(Reply {
                    data: Some(answer),
                    user: None,
                })
            }
            State::Finished(_) => {
                // The mechanism is at its end; only a user that it validated is one.
                let user = session
                    .validation()
                    .ok_or_else(|| Failure::new("wrong user or password"))?;
                if !pattern::allowed(self.sasl.allowed.as_deref(), &user) {
                    return Err(Failure {
                        reason: format!("user '{user}' is not in sasl_allowed_username_list"),
                        user: Some(user),
                    });
                }
                Ok(Reply {
                    data: (!answer.is_empty()).then_some(answer),
                    user: Some(user),
                })
            }
        }
    }
}

fn implementation(mechanism: Mechanism) -> &'static [Implementation] {
    static PLAIN_ONLY: [Implementation; 1] = [PLAIN];
    static SHA1: [Implementation; 1] = [SCRAM_SHA1];
    static SHA256: [Implementation; 1] = [SCRAM_SHA256];
    static SHA512: [Implementation; 1] = [SCRAM_SHA512];
    match mechanism {
        Mechanism::Plain => &PLAIN_ONLY,
        Mechanism::Scram(Hash::Sha1) => &SHA1,
        Mechanism::Scram(Hash::Sha256) => &SHA256,
        Mechanism::Scram(Hash::Sha512) => &SHA512,
    }
}

/// The library indexes into the parts of SCRAM's messages without looking at their length: every part is an attribute
/// `x=…`, but for the two that a first message begins with.
fn check_scram(message: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(message).map_err(|_| "SCRAM: not in UTF-8")?;
    let mut parts = text.split(',').peekable();
    let is_attribute = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic()) && bytes.next() == Some(b'=')
    };
    let first = matches!(parts.peek(), Some(&("n" | "y")));
    if first {
        parts.next();
        match parts.next() {
            Some("") => {}
            Some(part) if is_attribute(part) && part.starts_with("a=") => {}
            _ => return Err("SCRAM: the message has no header".to_owned()),
        }
    }
    let wanted: &[&str] = if first { &["n=", "r="] } else { &["c=", "r="] };
    let rest: Vec<&str> = parts.collect();
    for (want, part) in wanted
        .iter()
        .zip(rest.iter().map(Some).chain(std::iter::repeat(None)))
    {
        if !part.is_some_and(|part| part.starts_with(want) && part.len() > want.len()) {
            return Err(format!("SCRAM: the message has no '{want}' where it belongs"));
        }
    }
    match rest.iter().all(|part| is_attribute(part)) {
        true => Ok(()),
        false => Err("SCRAM: the message has a part that is no attribute".to_owned()),
    }
}

/// The name that a SCRAM message writes: commas and equal signs are escaped.
fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once('=') {
        out.push_str(before);
        rest = if let Some(rest) = behind.strip_prefix("2C") {
            out.push(',');
            rest
        } else {
            out.push('=');
            behind.strip_prefix("3D")?
        };
    }
    out.push_str(rest);
    Some(out)
}

/// The one answer that we want from a mechanism: who it is.
struct Who;

impl Validation for Who {
    type Value = String;
}

/// Answers what a mechanism asks.
struct Answers {
    users: Arc<Users>,
    chosen: Mechanism,
}

impl Answers {
    fn claimed(&self, context: &Context<'_>) -> Option<String> {
        let name = context.get_ref::<AuthId>()?;
        match self.chosen {
            Mechanism::Scram(_) => unescape(name),
            Mechanism::Plain => Some(name.to_owned()),
        }
    }
}

impl SessionCallback for Answers {
    fn callback(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let Mechanism::Scram(hash) = self.chosen else {
            return Ok(());
        };
        let claimed = self.claimed(context);
        let known = claimed.as_deref().and_then(|user| self.users.find(user, hash));
        let invented: Verifier;
        let verifier = match known {
            Some(verifier) => verifier,
            None => {
                invented = self.users.invent(claimed.as_deref().unwrap_or_default(), hash);
                &invented
            }
        };
        request.satisfy::<ScramStoredPassword<'static>>(&ScramStoredPassword::new(
            verifier.iterations,
            &verifier.salt,
            &verifier.stored_key,
            &verifier.server_key,
        ))?;
        Ok(())
    }

    fn validate(
        &self,
        _session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let Some(user) = self.claimed(context) else {
            return Ok(());
        };
        // Nobody acts for somebody else.
        let other = context
            .get_ref::<AuthzId>()
            .filter(|authz| !authz.is_empty())
            .map(|authz| match self.chosen {
                Mechanism::Scram(_) => unescape(authz),
                Mechanism::Plain => Some(authz.to_owned()),
            });
        if other.is_some_and(|other| other.as_deref() != Some(&user)) {
            return Ok(());
        }
        let proved = match self.chosen {
            // The mechanism has compared the keys; users that were invented have none that fits.
            Mechanism::Scram(hash) => self.users.find(&user, hash).is_some(),
            Mechanism::Plain => context
                .get_ref::<Password>()
                .is_some_and(|password| self.users.accept(&user, password)),
        };
        if proved {
            validate.finalize::<Who>(user);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::passwords::write_password;
    use proptest::prelude::*;
    use rsasl::prelude::SASLClient;

    fn sasl(allowed: Option<Vec<String>>) -> (tempfile::TempDir, Arc<Sasl>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        write_password(&path, "fred", Some("pencil"), 4096).unwrap();
        write_password(&path, "a,b=c", Some("odd"), 4096).unwrap();
        let sasl = Sasl {
            users: PasswordFile::new(path),
            mechanisms: Mechanism::ALL.to_vec(),
            allowed,
            min_ssf: 56,
        };
        (folder, Arc::new(sasl))
    }

    /// A whole exchange; who came in.
    fn attempt(
        sasl: &Arc<Sasl>,
        mechanism: Mechanism,
        user: &str,
        password: &str,
    ) -> Result<String, Failure> {
        let config = SASLConfig::with_credentials(None, user.to_owned(), password.to_owned()).unwrap();
        let mut exchange = Exchange::new(Arc::clone(sasl), Channel::Secure)?;
        let name = Mechname::parse(mechanism.name().as_bytes()).unwrap();
        let mut client = SASLClient::new(config).start_suggested(&[name]).unwrap();
        let mut message = Vec::new();
        let mut state = client.step(None, &mut message).unwrap();
        let mut reply = exchange.start(mechanism.name(), Some(&message))?;
        loop {
            if let Some(data) = &reply.data
                && state.is_running()
            {
                message.clear();
                state = client
                    .step(Some(data), &mut message)
                    .expect("the client believes the server");
            }
            if let Some(user) = reply.user {
                assert!(state.is_finished());
                return Ok(user);
            }
            reply = exchange.step(Some(&message))?;
        }
    }

    #[test]
    fn the_right_password_opens() {
        let (_folder, sasl) = sasl(None);
        // The client of the library knows no SHA-512 by credentials.
        for mechanism in [
            Mechanism::Scram(Hash::Sha256),
            Mechanism::Scram(Hash::Sha1),
            Mechanism::Plain,
        ] {
            assert_eq!(attempt(&sasl, mechanism, "fred", "pencil").unwrap(), "fred");
            assert_eq!(attempt(&sasl, mechanism, "a,b=c", "odd").unwrap(), "a,b=c");
            for (user, password) in [("fred", "pen"), ("nobody", "pencil"), ("a,b=c", "pencil")] {
                let failure = attempt(&sasl, mechanism, user, password).unwrap_err();
                assert_eq!(failure.reason, "wrong user or password");
            }
        }
    }

    #[test]
    fn the_list_of_users_holds() {
        let (_folder, sasl) = sasl(Some(vec!["*@X".to_owned(), "f?ed".to_owned()]));
        let scram = Mechanism::Scram(Hash::Sha256);
        assert!(attempt(&sasl, scram, "fred", "pencil").is_ok());
        let failure = attempt(&sasl, scram, "a,b=c", "odd").unwrap_err();
        assert_eq!(failure.user.as_deref(), Some("a,b=c"));
    }

    #[test]
    fn plain_tcp_has_nothing_to_offer() {
        let (_folder, sasl) = sasl(None);
        assert!(Exchange::new(sasl, Channel::Open).is_err());
    }

    #[test]
    fn nobody_acts_for_somebody_else() {
        let (_folder, sasl) = sasl(None);
        let mut exchange = Exchange::new(Arc::clone(&sasl), Channel::Secure).unwrap();
        assert!(exchange.start("PLAIN", Some(b"root\0fred\0pencil")).is_err());
        let mut exchange = Exchange::new(Arc::clone(&sasl), Channel::Secure).unwrap();
        assert!(exchange.start("PLAIN", Some(b"fred\0fred\0pencil")).is_ok());
        // A step after the end, a step before the start, and a second start.
        assert!(exchange.step(Some(b"x")).is_err());
        let mut exchange = Exchange::new(Arc::clone(&sasl), Channel::Secure).unwrap();
        assert!(exchange.step(Some(b"x")).is_err());
        assert!(exchange.start("SCRAM-SHA-256", Some(b"n,,n=fred,r=abc")).is_ok());
        assert!(exchange.start("PLAIN", Some(b"\0fred\0pencil")).is_err());
    }

    #[test]
    fn the_server_waits_for_a_client_that_says_nothing() {
        let (_folder, sasl) = sasl(None);
        let mut exchange = Exchange::new(sasl, Channel::Secure).unwrap();
        let reply = exchange.start("PLAIN", None).unwrap();
        assert_eq!((reply.data.as_deref(), reply.user), (Some(&b""[..]), None));
        assert_eq!(
            exchange.step(Some(b"\0fred\0pencil")).unwrap().user.as_deref(),
            Some("fred")
        );
    }

    #[test]
    fn a_user_who_is_not_there_gets_the_same_question_twice() {
        let (_folder, sasl) = sasl(None);
        let ask = |user: &str| {
            let mut exchange = Exchange::new(Arc::clone(&sasl), Channel::Secure).unwrap();
            let message = format!("n,,n={user},r=abc");
            let reply = exchange.start("SCRAM-SHA-256", Some(message.as_bytes())).unwrap();
            let text = String::from_utf8(reply.data.unwrap()).unwrap();
            text.split_once(",s=").unwrap().1.to_owned()
        };
        assert_eq!(ask("nobody"), ask("nobody"));
        assert_eq!(ask("nobody").len(), ask("fred").len());
    }

    #[test]
    fn messages_that_would_break_the_library_are_refused() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n",
            "n,a,n=x,r=y",
            "n,,n=fred,r",
            "c=biws,r=x,",
            "p=tls-unique,,n=x,r=y",
        ] {
            assert!(check_scram(message.as_bytes()).is_err(), "{message}");
        }
        assert!(check_scram(b"n,,n=fred,r=abc").is_ok());
        assert!(check_scram(b"c=biws,r=abc,p=xyz=").is_ok());
        assert_eq!(unescape("a=2Cb=3Dc").as_deref(), Some("a,b=c"));
        assert_eq!(unescape("a=2"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_message_breaks_an_exchange(messages in proptest::collection::vec("[nycarp=,A-Za-z+/0-9\\x00]{0,40}", 1..4)) {
            let (_folder, sasl) = sasl_without_users();
            for mechanism in Mechanism::ALL {
                let mut exchange = Exchange::new(Arc::clone(&sasl), Channel::Secure).unwrap();
                let mut messages = messages.iter();
                let first = messages.next().map(|text| text.as_bytes());
                if exchange.start(mechanism.name(), first).is_ok() {
                    for message in messages {
                        if exchange.step(Some(message.as_bytes())).is_err() {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn sasl_without_users() -> (tempfile::TempDir, Arc<Sasl>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        durable_empty(&path);
        let sasl = Sasl {
            users: PasswordFile::new(path),
            mechanisms: vec![
                Mechanism::Scram(Hash::Sha256),
                Mechanism::Scram(Hash::Sha512),
                Mechanism::Scram(Hash::Sha1),
                Mechanism::Plain,
            ],
            allowed: None,
            min_ssf: 56,
        };
        (folder, Arc::new(sasl))
    }

    fn durable_empty(path: &std::path::Path) {
        virt_util::durable::write(path, b"", &virt_util::durable::WriteOptions::default()).unwrap();
    }
}
