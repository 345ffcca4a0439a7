//! polkit as the judge of each permission: actions `org.libvirt.api.OBJECT.PERMISSION`, with the object's attributes.
//!
//! Drivers ask from threads of their own and wait; the bus needs a runtime. So one thread with a small runtime asks for
//! all of them. It starts with the first question, and ends with this.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use virt_api::call::Identity;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::auth::identity::{UnixPeer, process_of};
use crate::auth::polkit::{Interaction, Polkit, Verdict};

/// Questions that may wait for the thread.
const WAITING: usize = 1024;

/// How long an asker waits, longer than polkit may think.
const GIVE_UP: Duration = Duration::from_secs(60);

struct Question {
    action: String,
    process: UnixPeer,
    details: Vec<(String, String)>,
    answer: std::sync::mpsc::SyncSender<Result<Verdict>>,
}

/// The thread that asks.
pub(super) struct AccessPolkit {
    bus: Option<String>,
    /// Made at the first question. Held while it is made.
    questions: Mutex<Option<mpsc::Sender<Question>>>,
}

impl AccessPolkit {
    pub(super) fn new(bus: Option<String>) -> Self {
        Self {
            bus,
            questions: Mutex::new(None),
        }
    }

    fn questions(&self) -> Result<mpsc::Sender<Question>> {
        let mut questions = self.questions.lock();
        if let Some(questions) = &*questions
            && !questions.is_closed()
        {
            return Ok(questions.clone());
        }
        let (asked, waiting) = mpsc::channel(WAITING);
        let polkit = match &self.bus {
            None => Polkit::new(),
            Some(address) => Polkit::at(address.clone()),
        };
        std::thread::Builder::new()
            .name("virtd-polkit".to_owned())
            .spawn(move || ask_all(&polkit, waiting))
            .map_err(|error| VirtError::io(&error, "cannot start the thread that asks polkit"))?;
        *questions = Some(asked.clone());
        Ok(asked)
    }

    pub(super) fn check(
        &self,
        identity: &Identity,
        object: &str,
        permission: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        let action = format!("org.libvirt.api.{object}.{permission}").replace('_', "-");
        // Remote clients have no process here, and polkit nothing to judge.
        let process = process_of(identity)
            .filter(|process| process.pid.is_some())
            .ok_or_else(|| {
                VirtError::new(
                    ErrorCode::ACCESS_DENIED,
                    format_args!(
                        "polkit cannot be asked about '{action}': the client is no process of this host"
                    ),
                )
                .in_domain(ErrorDomain::ACCESS)
            })?;
        let details = attributes
            .iter()
            .filter_map(|param| match &param.value {
                TypedValue::String(text) => Some((param.field.clone(), text.clone())),
                _ => None,
            })
            .collect();
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let question = Question {
            action,
            process,
            details,
            answer,
        };
        let lost = || VirtError::internal("the thread that asks polkit is gone");
        let questions = self.questions()?;
        // A full queue is as good as an answer that does not come.
        questions
            .try_send(question)
            .map_err(|_| VirtError::internal(format_args!("{WAITING} questions wait for polkit already")))?;
        // Bounded by the question's own limit; this one is there for a thread that died.
        match answered.recv_timeout(GIVE_UP).map_err(|_| lost())?? {
            Verdict::Yes => Ok(true),
            Verdict::No(_) => Ok(false),
        }
    }
}

fn ask_all(polkit: &Arc<Polkit>, mut waiting: mpsc::Receiver<Question>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot ask polkit: {error}");
            return;
        }
    };
    runtime.block_on(async {
        while let Some(question) = waiting.recv().await {
            let polkit = Arc::clone(polkit);
            tokio::spawn(async move {
                let Question {
                    action,
                    process,
                    details,
                    answer,
                } = question;
                let verdict = polkit.check(&action, process, &details, Interaction::None).await;
                let _ = answer.send(verdict);
            });
        }
    });
}
