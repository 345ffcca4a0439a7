//! The daemon's log: what it and its drivers say, filtered and written where the administrator wants it.
//!
//! A [`Logger`] has a priority, filters that make exceptions for some sources, and outputs. All can be changed while
//! the daemon runs, from the configuration, the environment, the command line and the admin interface. Messages come
//! from two sides: `tracing` events of this process, and records of plugins, which have their own copy of `tracing`
//! and hand everything on through their host. Both carry the number of the request that is being answered, see
//! [`request`].
//!
//! Filters match a source's name: `qemu.monitor` for module `monitor` of the QEMU driver, `util.command`,
//! `conf.domain`, `daemon.service`, `rpc` for the serving of clients.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use virt_api::host::LogRecord;
use virt_util::log_settings::{Filter, Output, Priority, parse_filters, parse_outputs};
use virt_util::{ErrorCode, Result, VirtError};

mod defaults;
pub mod request;
mod sink;
mod source;

pub use defaults::{LogConfig, LogEnvironment};
pub use sink::Places;

use sink::Sink;

/// The log of a process.
pub struct Logger {
    rules: ArcSwap<Rules>,
    /// The open outputs; locked while one message is written, and while outputs are exchanged.
    sinks: Mutex<Vec<Sink>>,
    places: Places,
    /// What an empty setting of outputs means.
    default_outputs: Mutex<String>,
    /// Told the least important priority that anybody wants, whenever it may have changed.
    listener: OnceLock<Box<dyn Fn(u32) + Send + Sync>>,
}

/// Which messages are taken.
#[derive(Clone, Debug)]
struct Rules {
    priority: Priority,
    filters: Vec<Filter>,
    /// Made from `outputs`: what no output takes is not worth formatting.
    outputs: Priority,
}

impl Rules {
    /// The least important message that a source may have to say and be heard.
    fn wanted(&self, source: &str, target: &str) -> Priority {
        let filter = self.filters.iter().find(|filter| {
            source::matches(&filter.pattern, source) || source::matches(&filter.pattern, target)
        });
        filter
            .map_or(self.priority, |filter| filter.priority)
            .max(self.outputs)
    }

    /// The least that any source may have to say.
    fn lowest(&self) -> Priority {
        let filters = self.filters.iter().map(|filter| filter.priority);
        filters
            .min()
            .map_or(self.priority, |lowest| lowest.min(self.priority))
            .max(self.outputs)
    }
}

impl Logger {
    /// A log that writes warnings and errors to standard error.
    pub fn new(places: Places) -> Self {
        Self {
            rules: ArcSwap::from_pointee(Rules {
                priority: Priority::Warning,
                filters: Vec::new(),
                outputs: Priority::Debug,
            }),
            sinks: Mutex::new(vec![Sink::stderr()]),
            places,
            default_outputs: Mutex::new("3:stderr".to_owned()),
            listener: OnceLock::new(),
        }
    }

    /// Makes what this process says through `tracing` come here. The first log of the process wins.
    pub fn install(self: &Arc<Self>) {
        let bridge = Bridge {
            logger: Arc::clone(self),
        };
        // Fails only where somebody listens already, as in tests.
        let _ = tracing::subscriber::set_global_default(bridge);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Sets everything from the configuration, the environment and the command line, the later before the earlier.
    ///
    /// # Errors
    /// `INVALID_ARG` for a setting that cannot be read, `SYSTEM_ERROR` for an output that cannot be opened; the log
    /// stays as it was as far as the setting in question goes.
    pub fn configure(&self, config: &LogConfig, environment: &LogEnvironment) -> Result<()> {
        let mut priority = Priority::Warning;
        if config.level != 0 {
            priority = defaults::priority(&config.level.to_string())?;
        }
        if let Some(level) = environment.debug.as_deref().filter(|text| !text.is_empty()) {
            priority = defaults::priority(level)?;
        }
        if config.verbose {
            priority = priority.min(Priority::Info);
        }
        *self.default_outputs.lock() = defaults::outputs(config, priority, &self.places)?;
        let pick = |from_environment: &Option<String>, from_config: &str| match from_environment
            .as_deref()
            .filter(|text| !text.is_empty())
        {
            Some(text) => text.to_owned(),
            None => from_config.to_owned(),
        };
        let filters = parse_filters(&pick(&environment.filters, &config.filters))?;
        self.exchange_outputs(&pick(&environment.outputs, &config.outputs))?;
        self.change_rules(|rules| {
            rules.priority = priority;
            rules.filters = filters;
        });
        Ok(())
    }

    /// Calls `listener` now and after every change with the least important priority that is wanted, 1 to 4: what
    /// drivers are told by `set_log`. One listener only.
    pub fn on_change(&self, listener: impl Fn(u32) + Send + Sync + 'static) {
        listener(self.lowest());
        // A second listener would be a mistake of the daemon's own start, and costs nothing but its wish.
        let _ = self.listener.set(Box::new(listener));
    }

    /// The least important priority that is wanted from anybody, 1 (debug) to 4 (error).
    pub fn lowest(&self) -> u32 {
        self.rules.load().lowest() as u32
    }

    /// The outputs as a setting, and how many there are.
    pub fn outputs(&self) -> (String, u32) {
        let sinks = self.sinks.lock();
        let texts: Vec<String> = sinks.iter().map(Sink::setting).collect();
        (texts.join(" "), u32::try_from(texts.len()).unwrap_or(u32::MAX))
    }

    /// The filters as a setting, each with the stars that it implies, and how many there are; no text if there are
    /// none.
    pub fn filters(&self) -> (Option<String>, u32) {
        let rules = self.rules.load();
        let text: String = rules
            .filters
            .iter()
            .map(|filter| format!("{}:*{}* ", filter.priority as u32, filter.pattern))
            .collect();
        let count = u32::try_from(rules.filters.len()).unwrap_or(u32::MAX);
        (Some(text).filter(|text| !text.is_empty()), count)
    }

    /// Sets the outputs; an empty setting means the default ones.
    ///
    /// # Errors
    /// `INVALID_ARG`, `SYSTEM_ERROR`; then the old ones stay.
    pub fn set_outputs(&self, setting: Option<&str>) -> Result<()> {
        self.exchange_outputs(setting.unwrap_or_default())
    }

    /// Sets the filters; an empty setting means none.
    ///
    /// # Errors
    /// `INVALID_ARG`; then the old ones stay.
    pub fn set_filters(&self, setting: Option<&str>) -> Result<()> {
        let filters = parse_filters(setting.unwrap_or_default())?;
        self.change_rules(|rules| rules.filters = filters);
        Ok(())
    }

    /// Opens files of outputs again under their names, after log files were rotated.
    pub fn reopen(&self) {
        let (setting, _) = self.outputs();
        if let Err(error) = self.exchange_outputs(&setting) {
            tracing::warn!("log outputs cannot be opened again: {error}");
        }
    }

    /// Takes a message of a driver.
    pub fn log(&self, record: &LogRecord) {
        let priority = match record.priority {
            0 | 1 => Priority::Debug,
            2 => Priority::Info,
            3 => Priority::Warning,
            _ => Priority::Error,
        };
        let name = source::name(&record.target);
        if priority < self.rules.load().wanted(&name, &record.target) {
            return;
        }
        self.write(&sink::Message {
            priority,
            source: &name,
            text: &record.message,
            file: record.file.as_deref(),
            line: record.line,
            request: request::current(),
            error: None,
        });
    }

    fn write(&self, message: &sink::Message<'_>) {
        let stamped = sink::Stamped::new(message);
        for sink in self.sinks.lock().iter_mut() {
            sink.write(&stamped);
        }
    }

    fn exchange_outputs(&self, setting: &str) -> Result<()> {
        let default = self.default_outputs.lock().clone();
        let setting = if setting.trim().is_empty() {
            &default
        } else {
            setting
        };
        let outputs = parse_outputs(setting)?;
        let sinks = outputs
            .iter()
            .map(|output: &Output| Sink::open(output, &self.places))
            .collect::<Result<Vec<_>>>()?;
        let lowest = outputs.iter().map(|output| output.priority).min();
        let sinks = if sinks.is_empty() {
            vec![Sink::stderr()]
        } else {
            sinks
        };
        *self.sinks.lock() = sinks;
        self.change_rules(|rules| rules.outputs = lowest.unwrap_or(Priority::Debug));
        Ok(())
    }

    fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        // Settings change seldom and by one hand at a time: the sinks' lock stands for it.
        let guard = self.sinks.lock();
        let mut rules = Rules::clone(&self.rules.load());
        change(&mut rules);
        self.rules.store(Arc::new(rules));
        drop(guard);
        tracing::callsite::rebuild_interest_cache();
        if let Some(listener) = self.listener.get() {
            listener(self.lowest());
        }
    }
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logger")
            .field("rules", &self.rules.load())
            .finish_non_exhaustive()
    }
}

/// Whether a call that ends in this error has got an ordinary answer: programs ask for things to find out whether they are
/// there. libvirt keeps the same ones out of its log.
pub fn is_ordinary(code: ErrorCode) -> bool {
    const ORDINARY: [ErrorCode; 17] = [
        ErrorCode::NO_DOMAIN,
        ErrorCode::NO_NETWORK,
        ErrorCode::NO_STORAGE_POOL,
        ErrorCode::NO_STORAGE_VOL,
        ErrorCode::NO_NODE_DEVICE,
        ErrorCode::NO_INTERFACE,
        ErrorCode::MULTIPLE_INTERFACES,
        ErrorCode::NO_NWFILTER,
        ErrorCode::NO_NWFILTER_BINDING,
        ErrorCode::NO_SECRET,
        ErrorCode::NO_DOMAIN_SNAPSHOT,
        ErrorCode::OPERATION_INVALID,
        ErrorCode::NO_DOMAIN_METADATA,
        ErrorCode::NO_SERVER,
        ErrorCode::NO_CLIENT,
        ErrorCode::NO_HOSTNAME,
        ErrorCode::NO_NETWORK_METADATA,
    ];
    ORDINARY.contains(&code)
}

fn unknown_priority(text: &str) -> VirtError {
    VirtError::new(
        ErrorCode::INVALID_ARG,
        format_args!("invalid log level '{text}': expected 1 (debug), 2 (info), 3 (warning) or 4 (error)"),
    )
}

/// What `tracing` talks to.
struct Bridge {
    logger: Arc<Logger>,
}

fn priority_of(level: Level) -> Priority {
    match level {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warning,
        Level::INFO => Priority::Info,
        _ => Priority::Debug,
    }
}

impl Bridge {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let own = source::is_ours(target);
        let priority = priority_of(*metadata.level());
        // Libraries speak of their own inner life: only warnings are for the administrator.
        metadata.is_event()
            && (own || priority >= Priority::Warning)
            && *metadata.level() != Level::TRACE
            && priority >= self.logger.rules.load().wanted(&source::name(target), target)
    }
}

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata)
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.logger.rules.load().lowest() {
            Priority::Error => LevelFilter::ERROR,
            Priority::Warning => LevelFilter::WARN,
            Priority::Info => LevelFilter::INFO,
            Priority::Debug => LevelFilter::DEBUG,
        })
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        self.logger.write(&sink::Message {
            priority: priority_of(*metadata.level()),
            source: &source::name(metadata.target()),
            error: text.domain.zip(text.code),
            text: &text.finish(),
            file: metadata.file(),
            line: metadata.line().unwrap_or(0),
            request: request::current(),
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Logs an error with what the journal tells of errors: `log_error!(error, "{what}: {error}")`.
macro_rules! log_error {
    ($error:expr, $($rest:tt)+) => {
        tracing::error!(libvirt_domain = $error.domain().0, libvirt_code = $error.code().0, $($rest)+)
    };
}
pub(crate) use log_error;

/// The message first, then `name=value` for every other field but an error's numbers.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    domain: Option<i32>,
    code: Option<i32>,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        self.message
    }
}

impl Visit for Text {
    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "libvirt_domain" => self.domain = i32::try_from(value).ok(),
            "libvirt_code" => self.code = i32::try_from(value).ok(),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn places(folder: &std::path::Path) -> Places {
        Places {
            journal: folder.join("journal"),
            syslog: folder.join("syslog"),
        }
    }

    fn record(priority: u32, target: &str, message: &str) -> LogRecord {
        LogRecord {
            priority,
            target: target.to_owned(),
            message: message.to_owned(),
            file: None,
            line: 7,
        }
    }

    fn to_file(folder: &std::path::Path) -> (Logger, std::path::PathBuf) {
        let logger = Logger::new(places(folder));
        let file = folder.join("log");
        logger
            .set_outputs(Some(&format!("1:file:{}", file.display())))
            .unwrap();
        (logger, file)
    }

    #[test]
    fn filters_make_exceptions() {
        let folder = tempfile::tempdir().unwrap();
        let (logger, file) = to_file(folder.path());
        logger.set_filters(Some("1:qemu 4:util")).unwrap();
        logger.log(&record(1, "virt_driver_qemu::monitor", "heard"));
        logger.log(&record(1, "virt_driver_test", "too quiet"));
        logger.log(&record(3, "virt_util::command", "not now"));
        logger.log(&record(4, "virt_util::command", "broken"));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(": debug : qemu.monitor:7 : heard\n"), "{text}");
        assert!(text.contains(": error : util.command:7 : broken\n"), "{text}");
        assert!(!text.contains("too quiet") && !text.contains("not now"), "{text}");
        // The head of every line is the one that libvirt's tools recognize.
        assert!(
            text.lines().all(virt_util::log_settings::is_log_message),
            "{text}"
        );
        assert_eq!(logger.filters(), (Some("1:*qemu* 4:*util* ".to_owned()), 2));
        assert_eq!(logger.lowest(), 1);
        logger.set_filters(None).unwrap();
        assert_eq!((logger.filters(), logger.lowest()), ((None, 0), 3));
    }

    #[test]
    fn a_wrong_setting_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (logger, file) = to_file(folder.path());
        let before = logger.outputs();
        assert_eq!(before, (format!("1:file:{}", file.display()), 1));
        for wrong in ["9:stderr", "1:file:/nonexistent/folder/log", "1:nowhere"] {
            assert!(logger.set_outputs(Some(wrong)).is_err(), "{wrong}");
            assert_eq!(logger.outputs(), before);
        }
        assert!(logger.set_filters(Some("x")).is_err());
    }

    #[test]
    fn later_settings_beat_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let logger = Logger::new(places(folder.path()));
        let file = folder.path().join("f");
        let mut config = LogConfig {
            level: 4,
            filters: "2:conf".to_owned(),
            outputs: format!("2:file:{}", file.display()),
            ..LogConfig::default()
        };
        logger.configure(&config, &LogEnvironment::default()).unwrap();
        assert_eq!(logger.lowest(), 2);
        let environment = LogEnvironment {
            filters: Some("3:rpc".to_owned()),
            ..LogEnvironment::default()
        };
        logger.configure(&config, &environment).unwrap();
        assert_eq!(logger.lowest(), 3);
        config.verbose = true;
        logger.configure(&config, &environment).unwrap();
        assert_eq!(logger.lowest(), 2);
        let environment = LogEnvironment {
            debug: Some("loud".to_owned()),
            ..LogEnvironment::default()
        };
        assert!(logger.configure(&config, &environment).is_err());
    }

    #[test]
    fn plugins_hear_how_much_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let (logger, _) = to_file(folder.path());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        logger.on_change(move |priority| ear.lock().push(priority));
        logger.set_filters(Some("1:x")).unwrap();
        logger.set_outputs(Some("4:stderr")).unwrap();
        assert_eq!(*heard.lock(), [3, 1, 4]);
    }

    #[test]
    fn a_request_is_in_every_line_of_its_call() {
        let folder = tempfile::tempdir().unwrap();
        let (logger, file) = to_file(folder.path());
        {
            let _entered = request::enter(request::RequestId {
                client: 3,
                serial: 17,
            });
            logger.log(&record(4, "virt_driver_test", "inside"));
        }
        logger.log(&record(4, "virt_driver_test", "outside"));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(" : [3.17] inside\n"), "{text}");
        assert!(text.contains(":7 : outside\n"), "{text}");
    }

    #[test]
    fn what_follows_a_line_break_is_no_message() {
        let folder = tempfile::tempdir().unwrap();
        let (logger, file) = to_file(folder.path());
        let forged = "no domain 'a\n2026-05-04 10:11:12.131+0000: 1: error : daemon:1 : all is lost'";
        logger.log(&record(4, "virt_driver_test", forged));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("no domain 'a\n    2026-05-04"), "{text}");
    }

    #[test]
    fn what_programs_ask_for_is_no_failure() {
        assert!(is_ordinary(ErrorCode::NO_DOMAIN));
        assert!(!is_ordinary(ErrorCode::INTERNAL_ERROR));
    }

    #[test]
    fn the_journal_knows_an_errors_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let journal = UnixDatagram::bind(&places.journal).unwrap();
        let logger = Arc::new(Logger::new(places));
        logger.set_outputs(Some("4:journald")).unwrap();
        let bridge = Bridge { logger };
        let error =
            VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, "not here").in_domain(virt_util::ErrorDomain::QEMU);
        tracing::subscriber::with_default(bridge, || {
            log_error!(error, client = 7, "virDomainCreate: {error}")
        });
        let mut buffer = [0; 4096];
        let mut hear = || {
            let count = journal.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        assert!(hear().contains("ferrovirt version"), "the log begins with it");
        let text = hear();
        let (domain, code) = (error.domain().0, error.code().0);
        for wanted in [
            "MESSAGE=virDomainCreate: unsupported configuration: not here client=7\n".to_owned(),
            "\nPRIORITY=3\n".to_owned(),
            "\nSYSLOG_FACILITY=3\n".to_owned(),
            "\nLIBVIRT_SOURCE=util.error\n".to_owned(),
            "\nCODE_FILE=".to_owned(),
            "\nCODE_LINE=".to_owned(),
            format!("\nLIBVIRT_DOMAIN={domain}\nLIBVIRT_CODE={code}\n"),
        ] {
            assert!(text.contains(&wanted), "'{wanted}' is not in {text:?}");
        }
    }

    #[test]
    fn the_journal_gets_fields_and_syslog_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let journal = UnixDatagram::bind(&places.journal).unwrap();
        let syslog = UnixDatagram::bind(&places.syslog).unwrap();
        let logger = Logger::new(places);
        logger.set_outputs(Some("1:journald 4:syslog:virtd")).unwrap();
        assert_eq!(logger.outputs(), ("1:journald 4:syslog:virtd".to_owned(), 2));
        logger.log(&record(4, "virt_driver_qemu::process", "two\nlines"));
        let mut buffer = [0; 4096];
        let mut hear = |socket: &UnixDatagram| loop {
            let count = socket.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.contains("two") {
                return text;
            }
        };
        let text = hear(&journal);
        assert!(
            text.starts_with("MESSAGE\n\u{9}\0\0\0\0\0\0\0two\nlines\nPRIORITY=3\n"),
            "{text:?}"
        );
        assert!(text.contains("\nLIBVIRT_SOURCE=qemu.process\n"), "{text:?}");
        assert!(!text.contains("LIBVIRT_CODE"), "{text:?}");
        let text = hear(&syslog);
        assert!(text.starts_with("<27>virtd: "), "{text:?}");
        // What is too long for a datagram comes in a file.
        logger.log(&record(4, "virt_driver_qemu::process", &"long ".repeat(200_000)));
        let mut buffer = [0; 8];
        let received = virt_util::sys::socket::receive_with_fds(&journal, &mut buffer, 4)
            .unwrap()
            .unwrap();
        assert_eq!((received.count, received.fds.len()), (0, 1));
    }
}
