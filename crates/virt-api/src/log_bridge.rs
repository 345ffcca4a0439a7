//! The `tracing` subscriber of a plugin: every plugin has its own copy of `tracing`, and this one hands what is said
//! there to the host.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Interest, Level, LevelFilter, Metadata, Subscriber};

use crate::host::{HostServices, LogRecord};

/// libvirt's priority of a warning.
pub(crate) const WARNING: u32 = 3;
/// libvirt's priority of an error.
pub(crate) const ERROR: u32 = 4;

/// What is said below this priority is dropped here, before it is formatted.
static PRIORITY: AtomicU32 = AtomicU32::new(WARNING);

/// A message longer than this is cut: a log line is no place for a document.
const MESSAGE_MAX: usize = 16 * 1024;

/// Makes `host` hear what this copy of `tracing` is told. The first one wins.
pub(crate) fn install(host: HostServices) {
    // Fails only where somebody listens already.
    let _ = tracing::subscriber::set_global_default(Bridge { host });
}

/// Drops what is less important than `priority` (1 debug to 4 error).
pub(crate) fn set_priority(priority: u32) {
    PRIORITY.store(priority.clamp(1, ERROR), Ordering::Relaxed);
    tracing_core::callsite::rebuild_interest_cache();
}

fn priority_of(level: Level) -> u32 {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => WARNING,
        Level::INFO => 2,
        _ => 1,
    }
}

struct Bridge {
    host: HostServices,
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && priority_of(*metadata.level()) >= PRIORITY.load(Ordering::Relaxed)
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match PRIORITY.load(Ordering::Relaxed) {
            ERROR => LevelFilter::ERROR,
            WARNING => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line::default();
        event.record(&mut line);
        self.host.log(&LogRecord {
            priority: priority_of(*metadata.level()),
            target: metadata.target().to_owned(),
            message: line.finish(),
            file: metadata.file().map(str::to_owned),
            line: metadata.line().unwrap_or(0),
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The message first, then `name=value` for every other field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        if self.message.len() > MESSAGE_MAX {
            let mut end = MESSAGE_MAX;
            while !self.message.is_char_boundary(end) {
                end -= 1;
            }
            self.message.truncate(end);
            self.message.push('…');
        }
        self.message
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
