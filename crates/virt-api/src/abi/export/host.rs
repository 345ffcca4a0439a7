//! The host's services, behind the binary interface.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RSlice, RStr, RVec};
use parking_lot::Mutex;
use virt_util::audit::AuditRecord;
use virt_util::time::Deadline;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::{ErrorCode, Result, VirtError};

use super::OpenedShim;
use crate::abi::convert::{borrow_fd, params_in, params_out};
use crate::abi::import::CallbackHandle;
use crate::abi::panics::{contained, guarded};
use crate::abi::v1::{self, AbiResult, CallbackBox, ConnectionBox, HostServicesBox};
use crate::call::Identity;
use crate::host::{AuthMode, ClaimKind, CredentialRequest, CredentialSource, Host, LogRecord, NestedOpen};

/// The credential sources of the opens that run now, by the number their driver knows them by.
#[derive(Default)]
pub(in crate::abi) struct Credentials {
    next: AtomicU64,
    sources: Mutex<HashMap<u64, Arc<dyn CredentialSource>>>,
}

impl Credentials {
    /// Makes `source` known for as long as the answer lives.
    pub(in crate::abi) fn lend(self: &Arc<Self>, source: Arc<dyn CredentialSource>) -> LentCredentials {
        let token = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.sources.lock().insert(token, source);
        LentCredentials {
            credentials: Arc::clone(self),
            token,
        }
    }

    fn get(&self, token: u64) -> Result<Arc<dyn CredentialSource>> {
        self.sources.lock().get(&token).cloned().ok_or_else(|| {
            VirtError::new(
                ErrorCode::AUTH_FAILED,
                "credentials can be asked for only while the connection is being opened",
            )
        })
    }
}

/// See [`Credentials::lend`].
pub(in crate::abi) struct LentCredentials {
    credentials: Arc<Credentials>,
    pub(in crate::abi) token: u64,
}

impl Drop for LentCredentials {
    fn drop(&mut self) {
        self.credentials.sources.lock().remove(&self.token);
    }
}

/// The host for one driver.
pub(in crate::abi) fn export_host(host: Arc<dyn Host>, credentials: Arc<Credentials>) -> HostServicesBox {
    HostServicesBox::from_value(HostShim { host, credentials }, TD_Opaque)
}

struct HostShim {
    host: Arc<dyn Host>,
    credentials: Arc<Credentials>,
}

impl HostShim {
    fn guarded<T>(&self, what: &'static str, body: impl FnOnce(&dyn Host) -> Result<T>) -> AbiResult<T> {
        guarded("host", || what.to_owned(), || body(&*self.host))
    }
}

fn interval_in(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

fn claim_kind(kind: u32) -> Result<ClaimKind> {
    ClaimKind::from_number(kind).ok_or_else(|| VirtError::no_support(format_args!("claims of kind {kind}")))
}

impl v1::HostServices for HostShim {
    fn log(&self, priority: u32, target: RStr<'_>, message: RStr<'_>, file: RStr<'_>, line: u32) {
        contained("host", "log", || {
            self.host.log(&LogRecord {
                priority,
                target: target.as_str().to_owned(),
                message: message.as_str().to_owned(),
                file: (!file.is_empty()).then(|| file.as_str().to_owned()),
                line,
            });
        });
    }

    fn open_connection(
        &self,
        uri: RStr<'_>,
        flags: u32,
        deadline: u64,
        identity: RSlice<'_, u8>,
        elevated: u32,
        auth_mode: u32,
    ) -> AbiResult<ConnectionBox> {
        self.guarded("open_connection", |host| {
            let connection = host.open_connection(&NestedOpen {
                uri: uri.as_str().to_owned(),
                flags,
                identity: Identity(params_in(&identity)?),
                elevated: elevated != 0,
                auth: match auth_mode {
                    1 => AuthMode::ConfigOnly,
                    2 => AuthMode::Ask,
                    _ => AuthMode::None,
                },
                deadline: Deadline::from_nanos(deadline),
            })?;
            Ok(ConnectionBox::from_value(OpenedShim { connection }, TD_Opaque))
        })
    }

    fn add_handle(&self, fd: i32, events: u32, callback: CallbackBox) -> AbiResult<i32> {
        self.guarded("add_handle", |host| {
            let callback = CallbackHandle::new(callback);
            host.add_handle(
                borrow_fd(fd)?,
                events,
                Box::new(move |events| callback.call(i64::from(events))),
            )
        })
    }

    fn update_handle(&self, watch: i32, events: u32) -> AbiResult<()> {
        self.guarded("update_handle", |host| host.update_handle(watch, events))
    }

    fn remove_handle(&self, watch: i32) -> AbiResult<()> {
        self.guarded("remove_handle", |host| host.remove_handle(watch))
    }

    fn add_timeout(&self, milliseconds: i64, callback: CallbackBox) -> AbiResult<i32> {
        self.guarded("add_timeout", |host| {
            let callback = CallbackHandle::new(callback);
            host.add_timeout(interval_in(milliseconds), Box::new(move || callback.call(0)))
        })
    }

    fn update_timeout(&self, timer: i32, milliseconds: i64) -> AbiResult<()> {
        self.guarded("update_timeout", |host| {
            host.update_timeout(timer, interval_in(milliseconds))
        })
    }

    fn remove_timeout(&self, timer: i32) -> AbiResult<()> {
        self.guarded("remove_timeout", |host| host.remove_timeout(timer))
    }

    fn request_credentials(&self, auth: u64, questions: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        guarded(
            "host",
            || "request_credentials".into(),
            || {
                let source = self.credentials.get(auth)?;
                let questions = questions_in(&params_in(&questions)?)?;
                let answers = source.request(&questions)?;
                if answers.len() != questions.len() {
                    return Err(VirtError::new(
                        ErrorCode::AUTH_FAILED,
                        format_args!("{} answers to {} questions", answers.len(), questions.len()),
                    ));
                }
                let mut params = TypedParams::new();
                for answer in answers {
                    params.push("answer", answer);
                }
                params_out(&params)
            },
        )
    }

    fn check_acl(
        &self,
        identity: RSlice<'_, u8>,
        program: u32,
        procedure: u32,
        permission: RStr<'_>,
        object: RStr<'_>,
        attributes: RSlice<'_, u8>,
    ) -> AbiResult<u32> {
        self.guarded("check_acl", |host| {
            host.check_acl(
                &Identity(params_in(&identity)?),
                program,
                procedure,
                permission.as_str(),
                object.as_str(),
                &params_in(&attributes)?,
            )
            .map(u32::from)
        })
    }

    fn claim(&self, operation: u32, kind: u32, key: RStr<'_>, owner: RStr<'_>) -> AbiResult<()> {
        self.guarded("claim", |host| {
            let kind = claim_kind(kind)?;
            match operation {
                v1::CLAIM_TAKE => host.claim(kind, key.as_str(), owner.as_str()),
                v1::CLAIM_RELEASE => host.release(kind, key.as_str(), owner.as_str()),
                other => Err(VirtError::no_support(format_args!("claim operation {other}"))),
            }
        })
    }

    fn claims(&self, kind: u32) -> AbiResult<RVec<u8>> {
        self.guarded("claims", |host| {
            let mut params = TypedParams::new();
            for claim in host.claims(claim_kind(kind)?)? {
                params.push("key", claim.key);
                params.push("owner", claim.owner);
            }
            params_out(&params)
        })
    }

    fn inhibit(&self, inhibited: u32) {
        contained("host", "inhibit", || self.host.inhibit(inhibited != 0));
    }

    // since 1.1 {
    fn service(&self, operation: u32, ext: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        self.guarded("service", |host| {
            let params = params_in(&ext)?;
            match operation {
                v1::SERVICE_AUDIT => host.audit(&AuditRecord::from_params(&params)?)?,
                other => return Err(VirtError::no_support(format_args!("host service {other}"))),
            }
            params_out(&TypedParams::new())
        })
    }
    // }
}

/// Questions out of their parameters: four per question, the kind first.
fn questions_in(params: &TypedParams) -> Result<Vec<CredentialRequest>> {
    let mut questions: Vec<CredentialRequest> = Vec::new();
    for param in params.iter() {
        match (param.field.as_str(), &param.value) {
            ("kind", TypedValue::UInt(kind)) => questions.push(CredentialRequest {
                kind: *kind,
                prompt: String::new(),
                challenge: String::new(),
                default: String::new(),
            }),
            (field, TypedValue::String(text)) => {
                let Some(question) = questions.last_mut() else {
                    return Err(VirtError::internal("a credential question starts with its kind"));
                };
                match field {
                    "prompt" => question.prompt.clone_from(text),
                    "challenge" => question.challenge.clone_from(text),
                    "default" => question.default.clone_from(text),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok(questions)
}
